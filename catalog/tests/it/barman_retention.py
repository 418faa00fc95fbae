"""Lets Barman carry out what each line of standard input asks for: `SERVER` enforces the server's retention policy,
`SERVER BACKUP` deletes a backup. What Barman says of each is preceded by a line `## SERVER`."""

import sys

import barman
import barman.config
import barman.output
from barman.server import Server

config = barman.config.Config(sys.argv[1])
config.load_configuration_files_directory()
barman.__config__ = config
barman.output.set_output_writer("console")
for line in sys.stdin:
    name, *backup_id = line.split()
    print("##", name, flush=True)
    server = Server(config.get_server(name))
    if backup_id:
        server.delete_backup(server.get_backup(backup_id[0]))
    else:
        server.backup_manager.cron_retention_policy()
    sys.stdout.flush()
