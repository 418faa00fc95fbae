//! What options change, seen from the commands.

/// A piece of work that an option changes. Whoever starts that work refuses it while an option that changes it is set
/// and not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Command {
    /// Taking a base backup.
    Backup,
    /// Moving WAL from `incoming/` and `streaming/` to the archive, by whichever command.
    ArchiveWal,
    /// Streaming WAL.
    ReceiveWal,
    /// Asking PostgreSQL for a new segment.
    SwitchWal,
    /// What cron does itself: deleting obsolete backups, copying from a primary Barman host. The receiver and the
    /// archiver that cron starts are [`ReceiveWal`](Self::ReceiveWal) and [`ArchiveWal`](Self::ArchiveWal): an option
    /// that keeps cron from deleting must not stop WAL from arriving.
    Cron,
    /// Restoring a backup.
    Restore,
    /// Delivering archived WAL.
    GetWal,
    /// Deleting backups and the WAL that they alone need.
    Delete,
    /// Listing and showing backups.
    Show,
}

impl Command {
    /// Every piece of work.
    pub const ALL: &[Self] = &[
        Self::Backup,
        Self::ArchiveWal,
        Self::ReceiveWal,
        Self::SwitchWal,
        Self::Cron,
        Self::Restore,
        Self::GetWal,
        Self::Delete,
        Self::Show,
    ];
}
