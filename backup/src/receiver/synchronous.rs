//! Whether commits wait for the receiver: `synchronous_standby_names`.

use replication_client::Client;

use super::error::ReceiveError;
use super::options::Synchronous;

/// What the server's settings mean for a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Commits wait until their WAL is synced here.
    pub(super) synchronous: bool,
    /// They wait until it is applied here, which never happens.
    pub(super) forever: bool,
}

/// Asks the server, where the answer is not known.
///
/// # Errors
/// The connection fails.
pub(super) async fn waiting(client: &mut Client, wanted: &Synchronous) -> Result<Waiting, ReceiveError> {
    let Synchronous::IfNamed(standby) = wanted else {
        return Ok(Waiting { synchronous: *wanted == Synchronous::Always, forever: false });
    };
    let synchronous = names_standby(&client.show("synchronous_standby_names").await?, standby);
    let forever = synchronous && client.show("synchronous_commit").await? == "remote_apply";
    Ok(Waiting { synchronous, forever })
}

/// Returns whether `synchronous_standby_names` names `standby`, or everybody: commits may then wait for it.
///
/// The names stand alone, or in parentheses behind `FIRST n`, `ANY n` or `n` (PostgreSQL: `syncrep_gram.y`). They are
/// compared without regard to case; double quotes protect them from the grammar.
#[must_use]
pub fn names_standby(setting: &str, standby: &str) -> bool {
    let list = match (setting.find('('), setting.rfind(')')) {
        (Some(open), Some(close)) if open < close => setting.get(open + 1..close).unwrap_or_default(),
        _ => setting,
    };
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case(standby))
}

#[cfg(test)]
mod tests {
    use super::names_standby;

    #[test]
    fn every_form_of_the_setting_is_understood() {
        for setting in
            ["barman", "a, barman", "FIRST 1 (a, Barman)", "ANY 2 (\"barman\", b)", "1 (barman)", "*", "2 (*)"]
        {
            assert!(names_standby(setting, "barman"), "{setting}");
        }
        for setting in ["", "a", "barman2", "FIRST 1 (a, b)", "ANY 1 (barman_x)"] {
            assert!(!names_standby(setting, "barman"), "{setting}");
        }
    }
}
