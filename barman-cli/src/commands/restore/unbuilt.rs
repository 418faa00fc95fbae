//! What Barman's `restore` can be told, and this one refuses.

use crate::commands::unbuilt::UnbuiltOptions;
use crate::error::CommandError;

/// Options of Barman that are not built yet.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Unbuilt {
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
    pub(super) fn refuse(&self) -> Result<(), CommandError> {
        UnbuiltOptions::default()
            .option("--snapshot-recovery-instance", self.snapshot_recovery_instance.is_some())
            .option("--snapshot-recovery-zone", self.snapshot_recovery_zone.is_some())
            .option("--gcp-zone", self.gcp_zone.is_some())
            .option("--azure-resource-group", self.azure_resource_group.is_some())
            .option("--aws-region", self.aws_region.is_some())
            .refuse()
    }
}
