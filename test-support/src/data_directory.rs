//! Making data directories: initdb once, then copies.

use std::fs::{File, Metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::CommandExt;
use crate::{OsUser, bin_dir, temp_dir};

/// What initdb is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Initdb {
    pub(crate) major: u32,
    pub(crate) options: Vec<String>,
}

impl Initdb {
    /// Runs initdb for `data`, which gets a system identifier of its own.
    pub(crate) fn create(&self, data: &Path) {
        let user = OsUser::of_servers();
        make_private_directory(data, &user);
        let mut command = Command::new(bin_dir(self.major).join("initdb"));
        user.run(&mut command);
        command.arg("-D").arg(data);
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-k", "--no-sync"]);
        command.args(&self.options).succeed();
    }

    /// Makes `data` a copy of a cluster that was initialised once with these options: all copies have the same system
    /// identifier.
    pub(crate) fn copy_template(&self, data: &Path) {
        let template = self.template();
        copy_tree(&template, data);
        OsUser::of_servers().own_tree(data);
    }

    /// Returns the template, made by whichever test process comes first.
    fn template(&self) -> PathBuf {
        let shared = temp_dir::shared();
        let template = shared.join(self.template_name());
        let lock = shared.join("template.lock");
        let lock = File::create(&lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
        lock.lock().expect("a lock can be waited for");
        if !template.exists() {
            // Renamed when complete, so that a killed initdb leaves no template that looks ready.
            let unfinished = shared.join("template.unfinished");
            if unfinished.exists() {
                std::fs::remove_dir_all(&unfinished).expect("our own directory can be removed");
            }
            self.create(&unfinished);
            std::fs::rename(&unfinished, &template).expect("renaming within a directory");
        }
        template
    }

    /// Names the exact server version too: a package upgrade may change what initdb writes.
    fn template_name(&self) -> String {
        let version = Command::new(bin_dir(self.major).join("postgres")).arg("--version").succeed();
        let parts = std::iter::once(version.trim()).chain(self.options.iter().map(String::as_str));
        let name = parts.collect::<Vec<_>>().join(" ");
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "=.-".contains(c) { c } else { '_' }).collect()
    }
}

/// Makes an empty directory that only `user` may use, as PostgreSQL demands of a data directory.
pub(crate) fn make_private_directory(path: &Path, user: &OsUser) {
    std::fs::create_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("the owner can change the mode");
    user.own_tree(path);
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let entry = entry.expect("directory entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.metadata().is_ok_and(|metadata: Metadata| metadata.is_dir()) {
            copy_tree(&source, &target);
        } else {
            std::fs::copy(&source, &target).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
        }
    }
    let mode = from.metadata().expect("it was just read").permissions();
    std::fs::set_permissions(to, mode).expect("the owner can change the mode");
}
