"""The providers' wire as a real server, with scenarios and faults: standard library only, no import of the rest."""
