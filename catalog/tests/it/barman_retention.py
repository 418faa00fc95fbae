"""Lets Barman carry out what each line of standard input asks for: `SERVER` enforces the server's retention policy,
`SERVER BACKUP` deletes a backup. What Barman says of each is preceded by a line `## SERVER`; before and after that come the
sizes of every backup that is copied: its own, then number and bytes of the WAL that it needs, and of the WAL behind it."""

import sys

import barman
import barman.config
import barman.output
from barman.infofile import BackupInfo
from barman.server import Server


def print_sizes(server):
    for _, backup in sorted(server.get_available_backups(BackupInfo.STATUS_COPY_DONE).items()):
        wal = server.get_wal_info(backup)
        keys = ("wal_num", "wal_size", "wal_until_next_num", "wal_until_next_size")
        print("size", backup.backup_id, backup.size, *(wal[key] for key in keys), flush=True)


config = barman.config.Config(sys.argv[1])
config.load_configuration_files_directory()
barman.__config__ = config
barman.output.set_output_writer("console")
for line in sys.stdin:
    name, *backup_id = line.split()
    print("##", name, flush=True)
    server = Server(config.get_server(name))
    print_sizes(server)
    if backup_id:
        server.delete_backup(server.get_backup(backup_id[0]))
    else:
        server.backup_manager.cron_retention_policy()
    sys.stdout.flush()
    print_sizes(Server(config.get_server(name)))
