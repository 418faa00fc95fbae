//! What an ordinary connection to PostgreSQL is asked: settings, privileges, positions, slots.

use crate::Error;
use barman_catalog::Tablespace;
use barman_pitr::{LiveQuestion, LiveRelation, RelationName};
use replication_client::{Client, Config, Mode};
use std::path::Path;
use wal_format::{Lsn, PgMajor, RelFileLocator, SegmentName, SegmentSize, TimelineId};

/// An SQL connection to the server a configuration section names.
#[derive(Debug)]
pub(crate) struct Postgres {
    client: Client,
}

/// What `backup.info` records about a cluster, asked when a backup starts.
#[derive(Clone, Debug)]
pub(crate) struct ClusterFacts {
    /// `server_version_num`, for example 150018.
    pub(crate) version_num: u32,
    /// Where the server's data directory is, on its host.
    pub(crate) data_directory: String,
    /// Path of `postgresql.conf`.
    pub(crate) config_file: String,
    /// Path of `pg_hba.conf`.
    pub(crate) hba_file: String,
    /// Path of `pg_ident.conf`.
    pub(crate) ident_file: String,
    /// Every other file that settings come from, `postgresql.auto.conf` among them.
    pub(crate) included_files: Vec<String>,
    /// The tablespaces that have a location of their own.
    pub(crate) tablespaces: Vec<Tablespace>,
    /// Size of all tablespaces in bytes.
    pub(crate) cluster_size: u64,
    /// `on` or `off`.
    pub(crate) data_checksums: String,
    /// `on` or `off`; `None` before PostgreSQL 17.
    pub(crate) summarize_wal: Option<String>,
    /// Size of one WAL segment.
    pub(crate) segment_size: SegmentSize,
    /// Whether the server is a standby.
    pub(crate) in_recovery: bool,
}

impl ClusterFacts {
    /// Returns the configuration files that lie outside the data directory: no base backup contains them.
    pub(crate) fn external_configuration(&self) -> Vec<String> {
        let files = [&self.config_file, &self.hba_file, &self.ident_file].into_iter().chain(&self.included_files);
        let external = files.filter(|file| !Path::new(file).starts_with(&self.data_directory));
        external.cloned().collect()
    }
}

/// One physical replication slot, as `pg_replication_slots` shows it.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// Whether a receiver uses it at this moment.
    pub(crate) active: bool,
    /// The oldest position that the server keeps for it; `None` until it has been used or reserved.
    pub(crate) restart_lsn: Option<Lsn>,
}

/// The server's own archiver: settings and what `pg_stat_archiver` counts.
#[derive(Clone, Debug)]
pub(crate) struct Archiver {
    /// `archive_mode`.
    pub(crate) mode: String,
    /// `archive_command`.
    pub(crate) command: String,
    /// Whether the last success is newer than the last failure; `None` where there was neither.
    pub(crate) is_archiving: Option<bool>,
}

/// What a WAL switch did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalSwitch {
    /// This segment was closed.
    Closed(SegmentName),
    /// Nothing had been written since the last switch.
    NotRequired,
    /// A standby cannot switch.
    Standby,
}

impl Postgres {
    /// Connects for SQL.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(crate) async fn connect(config: &Config) -> Result<Self, Error> {
        Ok(Self { client: Client::connect(config, Mode::Sql).await? })
    }

    /// Returns `server_version_num`.
    pub(crate) fn version_num(&self) -> u32 {
        self.client.server_version_num()
    }

    /// Refuses a server whose files this program does not know.
    fn check_version(&self) -> Result<(), Error> {
        let version_num = self.version_num();
        PgMajor::from_version_num(version_num).map(drop).map_err(|_| Error::UnknownServerVersion { version_num })
    }

    /// Returns what a backup records about the cluster.
    ///
    /// # Errors
    /// The version is not known here, a query failed, or the role may not see a setting.
    pub(crate) async fn cluster_facts(&mut self) -> Result<ClusterFacts, Error> {
        self.check_version()?;
        let config_file = self.setting("config_file").await?;
        Ok(ClusterFacts {
            version_num: self.version_num(),
            data_directory: self.setting("data_directory").await?,
            hba_file: self.setting("hba_file").await?,
            ident_file: self.setting("ident_file").await?,
            included_files: self.included_files(&config_file).await?,
            config_file,
            tablespaces: self.tablespaces().await?,
            cluster_size: self.number("SELECT sum(pg_tablespace_size(oid)) FROM pg_tablespace").await?,
            data_checksums: self.setting("data_checksums").await?,
            summarize_wal: self.optional_setting("summarize_wal").await?,
            segment_size: self.segment_size().await?,
            in_recovery: self.in_recovery().await?,
        })
    }

    /// Returns whether the server is a standby.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn in_recovery(&mut self) -> Result<bool, Error> {
        self.boolean("SELECT pg_is_in_recovery()").await
    }

    /// Returns the size of a WAL segment.
    ///
    /// # Errors
    /// The query failed, or the answer is not a segment size.
    pub(crate) async fn segment_size(&mut self) -> Result<SegmentSize, Error> {
        const QUERY: &str = "SELECT setting::int8 * CASE unit WHEN '8kB' THEN 8192 ELSE 1 END \
                             FROM pg_settings WHERE name = 'wal_segment_size'";
        let bytes = self.number(QUERY).await?;
        SegmentSize::new(bytes).ok_or_else(|| unexpected("wal_segment_size", &bytes.to_string()))
    }

    /// Returns the current write position: of a primary what it wrote, of a standby what it received.
    ///
    /// # Errors
    /// The query failed, or a standby has received nothing yet.
    pub(crate) async fn current_lsn(&mut self) -> Result<Lsn, Error> {
        const QUERY: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
                             ELSE pg_current_wal_lsn() END";
        self.lsn(QUERY).await
    }

    /// Returns one setting's value.
    ///
    /// # Errors
    /// The setting does not exist, or the role may not see it.
    pub(crate) async fn setting(&mut self, name: &'static str) -> Result<String, Error> {
        self.optional_setting(name).await?.ok_or(Error::SettingNotVisible { name })
    }

    /// Returns the system identifier; `None` if the role may not call `pg_control_system()`.
    pub(crate) async fn system_id(&mut self) -> Option<wal_format::SystemId> {
        let text = self.optional_text("SELECT system_identifier FROM pg_control_system()").await.ok()??;
        text.parse().ok()
    }

    /// Returns whether the role may take backups, switch WAL and read every setting.
    ///
    /// # Errors
    /// A query failed.
    pub(crate) async fn has_backup_privileges(&mut self) -> Result<bool, Error> {
        let (start, stop) = backup_functions(self.version_num());
        let functions = [start, stop, "pg_switch_wal()", "pg_create_restore_point(text)"];
        let executable = functions
            .map(|function| format!("has_function_privilege(current_user, '{function}', 'EXECUTE')"))
            .join(" AND ");
        let query = format!("SELECT ({IS_SUPERUSER}) OR (({MAY_MONITOR}) AND {executable})");
        self.boolean(&query).await
    }

    /// Returns whether the role may read every setting and statistic, which is what watching a receiver needs.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn has_monitoring_privileges(&mut self) -> Result<bool, Error> {
        self.boolean(&format!("SELECT ({IS_SUPERUSER}) OR ({MAY_MONITOR})")).await
    }

    /// Returns the slot of that name, if there is one.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn slot(&mut self, name: &str) -> Result<Option<Slot>, Error> {
        let query = format!(
            "SELECT active, restart_lsn FROM pg_replication_slots WHERE slot_type = 'physical' AND slot_name = {}",
            literal(name)
        );
        let Some(row) = self.rows(&query).await?.pop() else {
            return Ok(None);
        };
        let restart_lsn = match column(&row, 1) {
            Some(text) => Some(parsed_lsn(text)?),
            None => None,
        };
        Ok(Some(Slot { active: column(&row, 0) == Some("t"), restart_lsn }))
    }

    /// Returns what the server's own archiver does.
    ///
    /// # Errors
    /// A query failed.
    pub(crate) async fn archiver(&mut self) -> Result<Archiver, Error> {
        // A failure to send the history file of a timeline that has been left, which the archive may well refuse as
        // known, does not mean that archiving is broken.
        const IS_ARCHIVING: &str = "\
            SELECT last_archived_time > last_failed_time OR last_failed_time IS NULL \
                OR last_failed_wal LIKE '%.history' \
                   AND substring(last_failed_wal from 1 for 8) <= substring(last_archived_wal from 1 for 8) \
            FROM pg_stat_archiver WHERE last_archived_time IS NOT NULL OR last_failed_time IS NOT NULL";
        let is_archiving = self.optional_text(IS_ARCHIVING).await?;
        Ok(Archiver {
            mode: self.setting("archive_mode").await?,
            command: self.setting("archive_command").await?,
            is_archiving: is_archiving.map(|value| value == "t"),
        })
    }

    /// Closes the current WAL segment, after a checkpoint if `checkpoint` asks for one.
    ///
    /// # Errors
    /// A query failed, for example because the role may not switch.
    pub(crate) async fn switch_wal(&mut self, checkpoint: bool) -> Result<WalSwitch, Error> {
        const CURRENT: &str = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";
        if self.in_recovery().await? {
            return Ok(WalSwitch::Standby);
        }
        if checkpoint {
            self.client.simple_query("CHECKPOINT").await?;
        }
        let before = self.text(CURRENT).await?;
        self.client.simple_query("SELECT pg_switch_wal()").await?;
        let after = self.text(CURRENT).await?;
        if before == after {
            return Ok(WalSwitch::NotRequired);
        }
        before.parse().map(WalSwitch::Closed).map_err(|_| unexpected("a WAL segment", &before))
    }

    /// Writes a restore point of that name into the WAL.
    ///
    /// # Errors
    /// The query failed: a standby cannot, and the role may lack the right.
    pub(crate) async fn create_restore_point(&mut self, name: &str) -> Result<Lsn, Error> {
        self.lsn(&format!("SELECT pg_create_restore_point({})", literal(name))).await
    }

    async fn included_files(&mut self, config_file: &str) -> Result<Vec<String>, Error> {
        const QUERY: &str = "SELECT DISTINCT sourcefile FROM pg_settings WHERE sourcefile IS NOT NULL ORDER BY 1";
        let rows = self.rows(QUERY).await?;
        let files = rows.iter().filter_map(|row| column(row, 0)).filter(|file| *file != config_file);
        Ok(files.map(str::to_owned).collect())
    }

    /// Returns the tablespaces that have a location of their own.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn tablespaces(&mut self) -> Result<Vec<Tablespace>, Error> {
        const QUERY: &str = "SELECT spcname, oid, pg_tablespace_location(oid) FROM pg_tablespace \
                             WHERE pg_tablespace_location(oid) != '' ORDER BY oid";
        self.rows(QUERY).await?.iter().map(|row| tablespace(row)).collect()
    }

    /// Returns the timeline that the server is on.
    ///
    /// # Errors
    /// The query failed, or the role may not see it.
    pub(crate) async fn timeline(&mut self) -> Result<TimelineId, Error> {
        // A standby's control file knows of a new timeline only since the first restart point on it.
        const QUERY: &str = "\
            SELECT CASE WHEN pg_is_in_recovery() \
                THEN (SELECT greatest(timeline_id, (SELECT received_tli FROM pg_stat_wal_receiver)) \
                      FROM pg_control_checkpoint()) \
                ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4 END";
        let number = self.number(QUERY).await?;
        let timeline = u32::try_from(number).ok().and_then(TimelineId::new);
        timeline.ok_or_else(|| unexpected("a timeline", &number.to_string()))
    }

    /// Returns the OIDs and names of the databases that take connections.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn databases(&mut self) -> Result<Vec<(u32, String)>, Error> {
        let rows = self.rows("SELECT oid, datname FROM pg_database WHERE datallowconn").await?;
        rows.iter().map(|row| Ok((oid(row, 0)?, text_of(row, 1)?))).collect()
    }

    /// Returns the name of the database of this connection.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn current_database(&mut self) -> Result<String, Error> {
        self.text("SELECT current_database()").await
    }

    /// Returns relations of this database, and those that all share, which have files with these numbers, or have this name
    /// in any schema.
    ///
    /// # Errors
    /// The query failed.
    pub(crate) async fn relations(&mut self, wanted: LiveQuestion<'_>) -> Result<Vec<LiveRelation>, Error> {
        const FIELDS: &str = "\
            SELECT d.datname, n.nspname, c.relname, pg_relation_filenode(c.oid), \
                CASE WHEN c.relisshared THEN 0 ELSE d.oid END, \
                CASE c.reltablespace WHEN 0 THEN d.dattablespace ELSE c.reltablespace END \
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                JOIN pg_database d ON d.datname = current_database()";
        let condition = match wanted {
            LiveQuestion::Files(files) => {
                let numbers: Vec<_> = files.iter().map(|file| file.number.to_string()).collect();
                format!("pg_relation_filenode(c.oid) IN ({})", numbers.join(", "))
            }
            LiveQuestion::Name(pattern) => {
                format!("c.relname = {} AND pg_relation_filenode(c.oid) > 0", literal(&pattern.relation))
            }
        };
        self.rows(&format!("{FIELDS} WHERE {condition}")).await?.iter().map(|row| relation(row)).collect()
    }

    async fn optional_setting(&mut self, name: &str) -> Result<Option<String>, Error> {
        // Unlike SHOW, this gives no row instead of an error for what this version does not know.
        self.optional_text(&format!("SELECT current_setting({}, true)", literal(name))).await
    }

    async fn boolean(&mut self, query: &str) -> Result<bool, Error> {
        Ok(self.text(query).await? == "t")
    }

    async fn number(&mut self, query: &str) -> Result<u64, Error> {
        let text = self.text(query).await?;
        text.parse().map_err(|_| unexpected("a number", &text))
    }

    async fn lsn(&mut self, query: &str) -> Result<Lsn, Error> {
        parsed_lsn(&self.text(query).await?)
    }

    async fn text(&mut self, query: &str) -> Result<String, Error> {
        self.optional_text(query).await?.ok_or_else(|| unexpected("a value", "NULL or no row"))
    }

    async fn optional_text(&mut self, query: &str) -> Result<Option<String>, Error> {
        Ok(self.rows(query).await?.first().and_then(|row| column(row, 0)).map(str::to_owned))
    }

    async fn rows(&mut self, query: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let results = self.client.simple_query(query).await?;
        Ok(results.into_iter().next().map(|set| set.rows).unwrap_or_default())
    }
}

const IS_SUPERUSER: &str = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
const MAY_MONITOR: &str = "SELECT pg_has_role(current_user, 'pg_monitor', 'MEMBER') \
                           OR (pg_has_role(current_user, 'pg_read_all_settings', 'MEMBER') \
                               AND pg_has_role(current_user, 'pg_read_all_stats', 'MEMBER'))";

/// Returns the signatures of the functions that start and stop a backup: PostgreSQL 15 renamed them.
fn backup_functions(version_num: u32) -> (&'static str, &'static str) {
    if version_num >= 150_000 {
        ("pg_backup_start(text,bool)", "pg_backup_stop(bool)")
    } else {
        ("pg_start_backup(text,bool,bool)", "pg_stop_backup(bool,bool)")
    }
}

fn tablespace(row: &[Option<String>]) -> Result<Tablespace, Error> {
    Ok(Tablespace { name: text_of(row, 0)?, oid: oid(row, 1)?, location: text_of(row, 2)? })
}

fn relation(row: &[Option<String>]) -> Result<LiveRelation, Error> {
    let name = RelationName { database: text_of(row, 0)?, schema: text_of(row, 1)?, relation: text_of(row, 2)? };
    let file = RelFileLocator { number: oid(row, 3)?, database: oid(row, 4)?, tablespace: oid(row, 5)? };
    Ok(LiveRelation { name, file })
}

fn text_of(row: &[Option<String>], index: usize) -> Result<String, Error> {
    column(row, index).map(str::to_owned).ok_or_else(|| unexpected("a name", "NULL or no column"))
}

fn oid(row: &[Option<String>], index: usize) -> Result<u32, Error> {
    let text = column(row, index).unwrap_or_default();
    text.parse().map_err(|_| unexpected("an oid", text))
}

fn column(row: &[Option<String>], index: usize) -> Option<&str> {
    row.get(index)?.as_deref()
}

fn parsed_lsn(text: &str) -> Result<Lsn, Error> {
    text.parse().map_err(|_| unexpected("an LSN", text))
}

fn unexpected(expected: &'static str, found: &str) -> Error {
    Error::UnexpectedAnswer { expected, found: found.to_owned() }
}

/// Returns `text` as an SQL string literal; backslashes mean themselves (`standard_conforming_strings`).
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_a_literal_are_doubled() {
        assert_eq!(literal("it's"), "'it''s'");
    }

    #[test]
    fn backup_functions_changed_their_names_in_15() {
        assert_eq!(backup_functions(140_011).0, "pg_start_backup(text,bool,bool)");
        assert_eq!(backup_functions(150_000).0, "pg_backup_start(text,bool)");
    }
}
