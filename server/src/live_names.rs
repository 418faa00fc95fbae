//! What relations are called on the server as it is now.

use crate::postgres::Postgres;
use crate::{Error, Server};
use barman_pitr::{LiveAnswer, LiveQuestion};
use replication_client::Config;
use std::collections::BTreeSet;
use std::time::Duration;

impl Server {
    /// Asks the server for names, as long as it answers soon: whoever looks for a moment to recover to may have lost it.
    ///
    /// # Errors
    /// There is no `conninfo`, the server cannot be reached or does not answer soon, or it is another cluster than the one
    /// whose WAL is archived.
    pub async fn ask_for_names(&self, question: LiveQuestion<'_>) -> Result<LiveAnswer, Error> {
        const PATIENCE: Duration = Duration::from_secs(10);
        if self.config().conninfo.is_none() {
            return Err(Error::NoConninfo { server: self.name().to_owned() });
        }
        let asked = tokio::time::timeout(PATIENCE, self.names(question)).await;
        asked.unwrap_or(Err(Error::NoAnswer { seconds: PATIENCE.as_secs() }))
    }

    async fn names(&self, question: LiveQuestion<'_>) -> Result<LiveAnswer, Error> {
        let mut sql = self.connect().await?;
        self.check_identity(self.cluster_of(&mut sql).await?)?;
        let timeline = sql.timeline().await?;
        let mut relations = Vec::new();
        for database in databases(&mut sql, question).await? {
            let mut inside = Postgres::connect(&self.connection_to(&database)?).await?;
            relations.extend(inside.relations(question).await?);
        }
        if let LiveQuestion::Name(pattern) = question {
            relations.retain(|relation| pattern.matches(&relation.name));
        }
        Ok(LiveAnswer { timeline, relations })
    }

    fn connection_to(&self, database: &str) -> Result<Config, Error> {
        let mut config = self.sql_connection()?;
        config.set_database(database);
        Ok(config)
    }
}

/// The databases to look into.
async fn databases(sql: &mut Postgres, question: LiveQuestion<'_>) -> Result<BTreeSet<String>, Error> {
    let all = sql.databases().await?;
    let is_wanted = |oid: u32, name: &str| match question {
        LiveQuestion::Files(files) => files.iter().any(|file| file.database == oid),
        LiveQuestion::Name(pattern) => pattern.database.as_ref().is_none_or(|database| database == name),
    };
    let mut wanted: BTreeSet<_> =
        all.into_iter().filter(|(oid, name)| is_wanted(*oid, name)).map(|(_, name)| name).collect();
    // Those that all databases share are in the catalog of each.
    if wanted.is_empty() {
        wanted.insert(sql.current_database().await?);
    }
    Ok(wanted)
}
