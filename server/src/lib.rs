//! One configured server: backup, archive, check, cron, restore
