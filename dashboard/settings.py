"""Every setting, once; read from the environment by `env`. Importing it writes nothing."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from dashboard import env
from streams import faults

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(env.text("COUNTERSIGN_DATA_DIR", str(BASE_DIR / "var"))).expanduser().absolute()
DEBUG = env.flag("COUNTERSIGN_DEBUG")

DATABASE_URL = env.text("DATABASE_URL")
REDIS_URL = env.text("REDIS_URL")
EMBEDDED = not DATABASE_URL  # one process, SQLite, in-memory layer

# --- keys -----------------------------------------------------------------------------------------------------------
# `up` makes them once in DATA_DIR. Without any, commands that need none still work, with a key that nobody can reuse.

_key_lines = [env.text("COUNTERSIGN_SECRET_KEY")] if env.text("COUNTERSIGN_SECRET_KEY") else []
_key_lines = _key_lines or (env.file_lines(DATA_DIR / "secret_key") if EMBEDDED else [])
FIELD_KEYS = env.words("COUNTERSIGN_FIELD_KEYS") or (env.file_lines(DATA_DIR / "field_keys") if EMBEDDED else [])
for _name, _given in (("COUNTERSIGN_SECRET_KEY", _key_lines), ("COUNTERSIGN_FIELD_KEYS", FIELD_KEYS)):
    if not EMBEDDED and not _given:
        raise ImproperlyConfigured(f"{_name}: missing; with DATABASE_URL both keys must be given")
KEYS_GIVEN = bool(_key_lines and FIELD_KEYS)
SECRET_KEY = _key_lines[0] if _key_lines else secrets.token_urlsafe(50)

# --- who may reach us -----------------------------------------------------------------------------------------------
# Without origins only loopback is served; an https origin switches everything on that a public site needs.

ORIGINS = env.origins("COUNTERSIGN_ORIGINS")
PROXIES = env.words("COUNTERSIGN_PROXIES")  # addresses whose X-Forwarded-* headers we believe
PRODUCTION = any(origin.startswith("https://") for origin in ORIGINS)
LOOPBACK_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
ALLOWED_HOSTS = [
    urlsplit(origin).netloc.rsplit(":", 1)[0] if urlsplit(origin).port else urlsplit(origin).netloc
    for origin in ORIGINS
] or LOOPBACK_HOSTS
CSRF_TRUSTED_ORIGINS = ORIGINS
WEBHOOK_HOSTS = env.words("COUNTERSIGN_WEBHOOK_HOSTS")
try:
    FAULTS = faults.read(env.text(faults.VARIABLE))
except ValueError as exc:
    raise ImproperlyConfigured(f"{faults.VARIABLE}: {exc}") from exc
if FAULTS and ORIGINS:
    raise ImproperlyConfigured(f"{faults.VARIABLE}: it is for tests alone; with COUNTERSIGN_ORIGINS it must be unset")

_cookie_prefix = "__Host-" if PRODUCTION else ""
SESSION_COOKIE_NAME = f"{_cookie_prefix}countersign"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_NAME = f"{_cookie_prefix}csrftoken"
CSRF_COOKIE_HTTPONLY = True  # the token stands in the page, once, on <body>
CSRF_COOKIE_SAMESITE = "Strict"
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^health/"]  # probes come over plain HTTP, past whatever ends TLS
SECURE_HSTS_SECONDS = 2 * 365 * 24 * 3600 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "manifest-src": [SELF],
        "worker-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- Django ---------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_htmx",
    "ninja",
    "streams",
    "approvals",
    "dashboard",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "dashboard.privacy.no_store",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
ROOT_URLCONF = "dashboard.urls"
ASGI_APPLICATION = "dashboard.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

DATABASES: dict[str, Any] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "countersign.sqlite3",
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            # FULL: a committed decision survives a power cut. The journal lowers it on its own connection only.
            # wal_autocheckpoint: streams/wal.py copies the log, and whoever commits only where that is not enough.
            # cache_size, KiB: a dozen threads have a connection each, and pages are in the system's cache anyway.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000; "
            "PRAGMA wal_autocheckpoint=8000; PRAGMA cache_size=-512;",
        },
        "TEST": {"NAME": None},
    }
}
if DATABASE_URL:
    try:
        DATABASES["default"] = dict(dj_database_url.parse(DATABASE_URL, conn_max_age=0))
    except ValueError as exc:
        raise ImproperlyConfigured(f"DATABASE_URL: {exc}") from exc
    if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL: only postgres:// is supported; unset it for SQLite")
    # A server that vanished without a word is noticed in seconds, not after the kernel's quarter of an hour.
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        # A process that is stopped in the middle of a transaction must not keep others from what it holds.
        "options": "-c idle_in_transaction_session_timeout=10s",
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

STREAMS_CHANNEL = "streams"  # of the background consumer: stream.wake, stream.stop, delivery.wake
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 1000}}
}
if REDIS_URL:
    if urlsplit(REDIS_URL).scheme not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured("REDIS_URL: it must begin with redis://, rediss:// or unix://")
    _prefix = env.text("COUNTERSIGN_REDIS_PREFIX", "countersign")
    CHANNEL_LAYERS["default"] = {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": _prefix},
    }
    STREAMS_CHANNEL = f"{_prefix}.streams"  # the layer puts its prefix before groups alone

AUTH_USER_MODEL = "dashboard.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "inbox"
LOGOUT_REDIRECT_URL = "login"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
DATETIME_FORMAT = "Y-m-d H:i:s"  # where a page says nothing else: the admin, whose readers compare seconds

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "dashboard.logs.OneLine", "format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}
    },
    "filters": {"refused": {"()": "dashboard.logs.NoFaultOfOurs"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["refused"]}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "daphne": {"level": "WARNING"},
    },
}

# --- Countersign ----------------------------------------------------------------------------------------------------

UNDO_S = env.integer("COUNTERSIGN_UNDO_S", 5, least=0, most=600)  # the page's undo window
EVENT_MAX_BYTES = 16 * 1024 * 1024
LEASE_TTL_S = 15
LEASE_RENEW_S = 5
LEASE_SELF_STOP_S = 10
LOOK_EVERY_S = 1.0  # supervisor and courier look at the database this often, hint or no hint
DEADLINE_MARGIN_S = 2  # a decision needs at least this long before the deadline
RUN_MAX_S = 6 * 3600
