//! `list-files`

use crate::context::{Context, Disabled};
use crate::error::CommandError;
use barman_catalog::BackupPart;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server
    server_name: String,

    /// The backup: its id, its name, or a word such as `latest`
    backup_id: String,

    /// Which files
    #[arg(long, value_enum, default_value = "standalone")]
    target: Target,

    /// List directories, too, that are empty
    #[arg(long)]
    list_empty_directories: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Target {
    /// The data, and the WAL that it cannot be restored without
    Standalone,
    /// The data
    Data,
    /// The WAL from its begin to the end of the next backup, and all histories
    Wal,
    /// The data and that WAL
    Full,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<(), CommandError> {
    let server = context.single_server(&arguments.server_name, Disabled::Included)?;
    let info = server.catalog().resolve(&arguments.backup_id)?;
    let part = match arguments.target {
        Target::Standalone => BackupPart::Standalone,
        Target::Data => BackupPart::Data,
        Target::Wal => BackupPart::Wal,
        Target::Full => BackupPart::Full,
    };
    for path in server.list_files(&info, part, arguments.list_empty_directories)? {
        context.output.info(&path.display().to_string());
    }
    Ok(())
}
