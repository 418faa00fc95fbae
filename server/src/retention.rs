//! Retention: what a policy says of everything a server has, and doing it.

use crate::{Error, Server};
use barman_catalog::{BackupId, BackupInfo, BackupTime, DeleteEvent, DeleteOptions, LocalZone, NoHooks, Status};
use barman_config::Command;
use barman_retention::{
    ArchivedWal, Backup, DamagedWal, Forecast, Plan, Policy, Request, Rules, Stage, Verdict, Zones, forecast, old_wal,
    plan, verdicts_by,
};
use barman_storage::{Cancel, Dir};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use wal_format::{SegmentSize, TimelineTree, Timestamp};

/// Everything that retention looks at, as it is at one moment.
#[derive(Debug)]
pub struct Inventory {
    /// Every backup, ascending by id.
    pub backups: Vec<Backup<BackupId>>,
    wal: Vec<ArchivedWal>,
    damage: Vec<DamagedWal>,
    timelines: TimelineTree,
    segment_size: SegmentSize,
}

impl Server {
    /// Returns what the server keeps: by our own option file, else by `retention_policy`; `None` if neither says anything.
    #[must_use]
    pub fn retention_rules(&self) -> Option<Cow<'_, Rules>> {
        match &self.config().retention_rules {
            Some(rules) => Some(Cow::Borrowed(rules)),
            None => self.config().retention_policy.policy().map(|policy| Cow::Owned(Rules::from(*policy))),
        }
    }

    /// Looks at everything that retention concerns.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub fn inventory(&self) -> Result<Inventory, Error> {
        let (timelines, damage) = (self.timelines()?, self.catalog().wal_coverage()?.damage().cloned().collect());
        Ok(Inventory { wal: self.catalog().archived_wal()?, damage, timelines, ..self.inventory_without_wal()? })
    }

    /// Returns how the archived timelines branch, as far as their histories can be believed.
    pub(crate) fn timelines(&self) -> Result<TimelineTree, Error> {
        Ok(TimelineTree::new(self.catalog().timeline_histories()?).unwrap_or_else(|error| {
            tracing::warn!(%error, "no recovery is promised on any timeline but those of the backups");
            TimelineTree::default()
        }))
    }

    /// Looks at backups alone, which is all that most questions are about.
    fn inventory_without_wal(&self) -> Result<Inventory, Error> {
        let records = self.catalog().backups()?;
        for id in self.catalog().orphans(&records)?.records {
            tracing::warn!(server = self.name(), "backup {id} does not count: it has a record and no data");
        }
        Ok(Inventory {
            backups: self.catalog().retention_backups(&records)?,
            wal: Vec::new(),
            damage: Vec::new(),
            timelines: TimelineTree::default(),
            segment_size: segment_size(&records),
        })
    }

    /// Says what `rules` would make of everything at a moment. Nothing is changed.
    ///
    /// # Errors
    /// The rules name a zone that is unknown.
    pub fn plan_retention(
        &self,
        rules: &Rules,
        inventory: &Inventory,
        now: Timestamp,
    ) -> Result<Plan<BackupId>, Error> {
        let zones = ZoneDatabase::default();
        let minimum_redundancy = self.config().minimum_redundancy;
        Ok(plan(&inventory.request(rules, minimum_redundancy, now, &zones))?)
    }

    /// Says what `rules` make of backups alone, for lists.
    ///
    /// # Errors
    /// An annotation cannot be read, or the rules name a zone that is unknown.
    pub(crate) fn judge_backups(
        &self,
        rules: &Rules,
        backups: &[BackupInfo],
        now: Timestamp,
    ) -> Result<Vec<Verdict<BackupId>>, Error> {
        let backups = self.catalog().retention_backups(backups)?;
        let considered = backups.iter().filter(|backup| backup.stage != Stage::Empty);
        let candidates: Vec<_> = considered.map(|backup| backup.candidate).collect();
        let zones = ZoneDatabase::default();
        Ok(verdicts_by(rules, &candidates, self.config().minimum_redundancy, now, &zones)?)
    }

    /// Says what `rules` will hold in the long run, and when the disk will be full.
    ///
    /// # Errors
    /// The rules name a zone that is unknown, or the file system does not say how much is free.
    pub fn forecast(&self, rules: &Rules, inventory: &Inventory, now: Timestamp) -> Result<Forecast, Error> {
        let zones = ZoneDatabase::default();
        let free = Dir::open(&self.config().basebackups_directory)?.free_space()?;
        let minimum_redundancy = self.config().minimum_redundancy;
        Ok(forecast(&inventory.request(rules, minimum_redundancy, now, &zones), free)?)
    }

    /// Deletes what the rules do not need any more, and finishes deletions that were interrupted.
    ///
    /// Without rules only the latter is done.
    ///
    /// # Errors
    /// The plan must not be carried out; an option is set that deleting would have to obey and that is not built; or
    /// something cannot be read or removed. What is begun is finished the next time.
    pub fn enforce_retention(
        &self,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        let options = DeleteOptions { now, hooks: &NoHooks, cancel };
        self.catalog().finish_deletions(&options, events)?;
        let everything = Rules::from(Policy::Redundancy(u32::MAX));
        let rules = self.retention_rules().unwrap_or(Cow::Owned(everything));
        // Each minute nothing is due, and the index of millions of segments need not be read to find that out.
        let concerns_wal = rules.wal.is_some() || rules.limit.is_some();
        if !concerns_wal && !self.plan_retention(&rules, &self.inventory_without_wal()?, now)?.removes() {
            return Ok(());
        }
        let plan = self.plan_retention(&rules, &self.inventory()?, now)?;
        if let Some(bytes) = plan.bytes_over_limit {
            tracing::warn!(server = self.name(), bytes, "backups and WAL exceed the limit of the retention policy");
        }
        if !plan.removes() {
            return Ok(());
        }
        self.refuse_unsupported(Command::Delete)?;
        if let Some(stop) = plan.stop {
            return Err(Error::RetentionStopped { server: self.name().to_owned(), source: stop });
        }
        let occasion = |verdict: &Verdict<BackupId>| (verdict.id, verdict.occasion());
        let wanted: BTreeMap<_, _> = plan.verdicts.iter().map(occasion).collect();
        let wanted: Vec<_> = plan.deletions.iter().filter_map(|id| Some((*id, *wanted.get(id)?))).collect();
        self.catalog().delete_backups(&wanted, &options, events)?;
        if rules.wal.is_some() {
            self.cut_wal(&rules, now, cancel, events)?;
        }
        Ok(())
    }

    /// Removes WAL that is older than the rules keep it. What is to go is found out anew, since not every backup that was
    /// to go need have gone.
    fn cut_wal(
        &self,
        rules: &Rules,
        now: Timestamp,
        cancel: &Cancel,
        events: &mut dyn FnMut(DeleteEvent<'_>),
    ) -> Result<(), Error> {
        loop {
            let mut inventory = self.inventory()?;
            // Invariant 6: whoever restores a backup may be on the way to any point behind it.
            self.catalog().note_use(&mut inventory.backups)?;
            let idle = inventory.backups.iter().filter(|backup| !backup.in_use).map(|backup| backup.candidate.id);
            let idle: Vec<_> = idle.collect();
            let zones = ZoneDatabase::default();
            let request = inventory.request(rules, self.config().minimum_redundancy, now, &zones);
            // If a restore begins meanwhile, what is to go is found out anew.
            if self.catalog().remove_wal(&old_wal(&request), &idle, cancel, events)? {
                return Ok(());
            }
        }
    }
}

impl Inventory {
    fn request<'a>(
        &'a self,
        rules: &'a Rules,
        minimum_redundancy: u32,
        now: Timestamp,
        zones: &'a ZoneDatabase,
    ) -> Request<'a, BackupId> {
        Request {
            rules,
            minimum_redundancy,
            now,
            backups: &self.backups,
            wal: &self.wal,
            damage: &self.damage,
            timelines: &self.timelines,
            segment_size: self.segment_size,
            zones,
        }
    }
}

/// The segment size of the newest backup that has all its facts.
fn segment_size(records: &[BackupInfo]) -> SegmentSize {
    let newest = records.iter().rev().find(|info| info.status.is_copied() || info.status == Status::Started);
    newest.map_or(SegmentSize::DEFAULT, |info| info.xlog_segment_size)
}

/// The zone database of the host, each zone read once.
#[derive(Default)]
struct ZoneDatabase(RefCell<BTreeMap<String, Option<LocalZone>>>);

impl Zones for ZoneDatabase {
    fn offset_seconds(&self, zone: &str, at: Timestamp) -> Option<i32> {
        let mut known = self.0.borrow_mut();
        let zone = known.entry(zone.to_owned()).or_insert_with(|| LocalZone::named(zone));
        zone.as_ref().map(|zone| BackupTime::in_zone(at, zone).offset_seconds())
    }
}
