//! What Barman's `restore` can be told, and this one refuses.

use crate::commands::unbuilt::UnbuiltOptions;
use crate::error::CommandError;

/// Options of Barman that are not built yet.
#[derive(Debug, clap::Args)]
#[group(skip)]
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Unbuilt {
    #[arg(long, hide = true)]
    remote_ssh_command: Option<String>,
    #[arg(long, hide = true)]
    retry_times: Option<String>,
    #[arg(long, hide = true)]
    retry_sleep: Option<String>,
    #[arg(long, hide = true)]
    no_retry: bool,
    #[arg(long, hide = true)]
    jobs_start_batch_period: Option<String>,
    #[arg(long, hide = true)]
    jobs_start_batch_size: Option<String>,
    #[arg(long, hide = true)]
    network_compression: bool,
    #[arg(long, hide = true)]
    no_network_compression: bool,
    #[arg(long, hide = true)]
    recovery_staging_path: Option<String>,
    #[arg(long, hide = true)]
    local_staging_path: Option<String>,
    #[arg(long, hide = true)]
    staging_path: Option<String>,
    #[arg(long, hide = true)]
    staging_location: Option<String>,
    #[arg(long, hide = true)]
    combine_mode: Option<String>,
    #[arg(long, hide = true)]
    recovery_option_port: Option<String>,
    #[arg(long, hide = true)]
    restore_command: Option<String>,
    #[arg(long, hide = true)]
    snapshot_recovery_instance: Option<String>,
    #[arg(long, hide = true)]
    snapshot_recovery_zone: Option<String>,
    #[arg(long, hide = true)]
    gcp_zone: Option<String>,
    #[arg(long, hide = true)]
    azure_resource_group: Option<String>,
    #[arg(long, hide = true)]
    aws_region: Option<String>,
}

impl Unbuilt {
    /// What turns something off that is not here anyway is accepted, as is what tunes rsync, which is not used.
    pub(super) fn refuse(&self) -> Result<(), CommandError> {
        UnbuiltOptions::default()
            .option("--remote-ssh-command", self.remote_ssh_command.is_some())
            .option("--network-compression", self.network_compression)
            .option("--recovery-staging-path", self.recovery_staging_path.is_some())
            .option("--local-staging-path", self.local_staging_path.is_some())
            .option("--staging-path", self.staging_path.is_some())
            .option("--staging-location", self.staging_location.is_some())
            .option("--combine-mode", self.combine_mode.is_some())
            .option("--recovery-option-port", self.recovery_option_port.is_some())
            .option("--restore-command", self.restore_command.is_some())
            .option("--snapshot-recovery-instance", self.snapshot_recovery_instance.is_some())
            .option("--snapshot-recovery-zone", self.snapshot_recovery_zone.is_some())
            .option("--gcp-zone", self.gcp_zone.is_some())
            .option("--azure-resource-group", self.azure_resource_group.is_some())
            .option("--aws-region", self.aws_region.is_some())
            .refuse()
    }
}
