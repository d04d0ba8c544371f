// Mastra behind its AG-UI adapter: tools that suspend until a person answers what their resumeSchema asks for.
//
// `/` tells the pause as AG-UI 1.0 does, `/legacy` in a CUSTOM event alone. What `recorder.py` is to programs in Python
// is here, too: GET /recorded, and a line `AGENT: http://127.0.0.1:PORT`.

import { createServer } from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

process.env.MASTRA_TELEMETRY_DISABLED = "1";
const require = createRequire(`${process.argv[2]}/package.json`); // the folder in which npm installed everything
const installed = (name) => import(pathToFileURL(require.resolve(name)));
const { MastraAgent } = await installed("@ag-ui/mastra");
const { Agent } = await installed("@mastra/core/agent");
const { Mastra } = await installed("@mastra/core");
const { InMemoryStore } = await installed("@mastra/core/storage");
const { createTool } = await installed("@mastra/core/tools");
const { z } = await installed("zod");

const EMAIL = { to: "ana@shop.example", subject: "Invoice", body: "Hello Ana,\nhere it is. 🤖" };
const DELETION = { table: "orders", where: "id = 7" };
const LETTER = { ...EMAIL, body: "Žluťoučký kůň 🐎\n".repeat(10_000) };
const CALLS = { "e-mail": ["send_email", EMAIL], delete: ["delete_records", DELETION], letter: ["send_email", LETTER] };
const effects = [];
const posts = [];

const resumeSchema = z.object({
  approved: z.boolean(),
  reason: z.string().optional(),
  editedArgs: z.record(z.any()).optional(),
});

// A tool that asks first.
const gated = (id, fields) =>
  createTool({
    id,
    description: "Asks a person first.",
    inputSchema: z.object(Object.fromEntries(fields.map((field) => [field, z.string()]))),
    suspendSchema: z.object({ question: z.string() }),
    resumeSchema,
    execute: async (input, { agent }) => {
      if (!agent.resumeData) return agent.suspend({ question: `May ${id} run?` });
      if (agent.resumeData.approved !== true) return `denied: ${agent.resumeData.reason ?? ""}`;
      effects.push({ tool: id, arguments: agent.resumeData.editedArgs ?? input });
      return `${id} done`;
    },
  });

// Asks for the tools that the user's words name; behind their results it says that it is done.
const scripted = {
  specificationVersion: "v2",
  provider: "scripted",
  modelId: "scripted",
  supportedUrls: {},
  doStream: async ({ prompt }) => ({
    stream: new ReadableStream({
      start(controller) {
        for (const part of answer(prompt)) controller.enqueue(part);
        controller.close();
      },
    }),
  }),
};

let made = 0;
function* answer(prompt) {
  const start = prompt.findLastIndex((message) => message.role === "user");
  const words = prompt[start].content.map((part) => part.text ?? "").join(" ");
  const results = prompt.slice(start).filter((message) => message.role === "tool");
  const answered = results.flatMap((message) => message.content).length;
  let calls = Object.keys(CALLS).filter((word) => words.includes(word));
  if (words.includes("then")) calls = calls.slice(answered, answered + 1);
  else if (answered) calls = [];
  yield { type: "stream-start", warnings: [] };
  yield { type: "text-start", id: "said" };
  yield { type: "text-delta", id: "said", delta: calls.length ? "I will do that." : "Done." };
  yield { type: "text-end", id: "said" };
  for (const [name, input] of calls.map((word) => CALLS[word])) {
    yield { type: "tool-call", toolCallId: `call_${++made}`, toolName: name, input: JSON.stringify(input) };
  }
  const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 };
  yield { type: "finish", finishReason: calls.length ? "tool-calls" : "stop", usage };
}

const mail = new Agent({
  id: "mail",
  name: "mail",
  instructions: "Help.",
  model: scripted,
  tools: { send_email: gated("send_email", ["to", "subject", "body"]), delete_records: gated("delete_records", ["table", "where"]) },
});
new Mastra({ agents: { mail }, storage: new InMemoryStore(), logger: false });

// The whole answer to one POST, as server-sent events.
async function run(path, input, response) {
  const agent = new MastraAgent({ agent: mail, resourceId: "tests", emitInterruptOutcome: path !== "/legacy" });
  const say = (event) => response.write(`data: ${JSON.stringify(event)}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  await new Promise((done) => {
    agent.run(input).subscribe({
      next: say,
      error: (error) => done(say({ type: "RUN_ERROR", message: String(error.message ?? error) })),
      complete: done,
    });
  });
  response.end();
}

const server = createServer(async (request, response) => {
  if (request.url === "/recorded") return response.end(JSON.stringify({ effects, posts }));
  let body = "";
  for await (const part of request.setEncoding("utf8")) body += part;
  const input = JSON.parse(body);
  posts.push({ path: request.url, body: input });
  await run(request.url, input, response);
});
server.listen(0, "127.0.0.1", () => process.stdout.write(`AGENT: http://127.0.0.1:${server.address().port}\n`));
