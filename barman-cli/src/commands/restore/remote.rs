//! The options by which a restore goes to another host.

use crate::error::CommandError;
use barman_pitr::{Host, WalFetch};
use barman_server::Server;
use barman_storage::RemoteHost;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(in crate::commands) struct Arguments {
    /// Restore onto another host, which this command leads to, such as 'ssh postgres@pg'
    #[arg(long, value_name = "COMMAND")]
    remote_ssh_command: Option<String>,

    /// Compress what is sent to another host
    #[arg(long, overrides_with = "no_network_compression")]
    network_compression: bool,

    /// Do not
    #[arg(long)]
    no_network_compression: bool,

    /// The port of Barman's ssh server, as written into the restore_command
    #[arg(long, value_name = "PORT")]
    recovery_option_port: Option<u16>,
}

impl Arguments {
    /// Returns the host that is restored to.
    pub(in crate::commands) fn host(&self, server: &Server) -> Result<Host, CommandError> {
        let Some(command) = &self.remote_ssh_command else {
            return match self.network_compression {
                true => Err(CommandError::new("Network compression can only be used with remote recovery.")
                    .hinted("name the other host with --remote-ssh-command, or leave --network-compression out")),
                false => Ok(Host::Here),
            };
        };
        let host = RemoteHost::by_command(command).map_err(|error| CommandError::from_error(&error))?;
        let is_compressed =
            self.network_compression || (server.config().network_compression && !self.no_network_compression);
        Ok(Host::Remote(if is_compressed { host.compressed() } else { host }))
    }

    pub(super) fn is_remote(&self) -> bool {
        self.remote_ssh_command.is_some()
    }

    /// Returns how a server on that host asks for WAL, of this user here.
    pub(in crate::commands) fn fetch(&self, user: &str) -> Result<WalFetch, CommandError> {
        Ok(match self.remote_ssh_command {
            None => WalFetch::local(user),
            Some(_) => WalFetch::Remote { host: own_name()?, user: user.to_owned(), port: self.recovery_option_port },
        })
    }

    /// Returns the path on that host that a word of the command line means.
    pub(in crate::commands) fn destination(&self, word: &Path) -> Result<PathBuf, CommandError> {
        match self.remote_ssh_command {
            // It has no directory to be relative to: the plan insists on an absolute path.
            Some(_) => Ok(word.to_owned()),
            None => std::path::absolute(word)
                .map_err(|error| CommandError::new(format!("the destination directory is unusable: {error}"))),
        }
    }
}

/// What Barman's `restore` takes for intermediate copies, and for how it starts rsync. There is no rsync here, and backups of
/// every kind go straight to where they shall be; all that is kept meanwhile are changed blocks that come out of archives.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Staging {
    #[arg(long, hide = true)]
    staging_path: Option<PathBuf>,
    #[arg(long, hide = true, value_parser = ["local", "remote"])]
    staging_location: Option<String>,
    #[arg(long, hide = true)]
    local_staging_path: Option<PathBuf>,
    #[arg(long, hide = true)]
    recovery_staging_path: Option<PathBuf>,
    #[arg(long, hide = true, value_parser = ["copy", "link", "clone", "copy-file-range"])]
    combine_mode: Option<String>,
    #[arg(long, hide = true)]
    jobs_start_batch_period: Option<String>,
    #[arg(long, hide = true)]
    jobs_start_batch_size: Option<String>,
}

impl Staging {
    pub(super) fn check(&self, remote: &Arguments) -> Result<(), CommandError> {
        if self.staging_location.as_deref() == Some("remote") && !remote.is_remote() {
            return Err(CommandError::new("a remote staging location needs a remote restore")
                .hinted("name the other host with --remote-ssh-command, or leave --staging-location out"));
        }
        Ok(())
    }

    /// The directory that is named for them on this host.
    pub(super) fn path_here(&self) -> Option<&PathBuf> {
        let is_here = self.staging_location.as_deref() != Some("remote");
        self.staging_path.as_ref().filter(|_| is_here).or(self.local_staging_path.as_ref())
    }
}

/// The name of this host, as others are told it.
fn own_name() -> Result<String, CommandError> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|error| CommandError::new(format!("this host's name cannot be read: {error}")))?;
    Ok(name.trim().to_owned())
}
