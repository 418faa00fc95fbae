//! Whether commits wait for the receiver: `synchronous_standby_names`.

/// Returns whether the setting names `standby`, or everybody.
///
/// The names stand alone, or in parentheses behind `FIRST n`, `ANY n` or `n` (PostgreSQL: `syncrep_gram.y`). They are
/// compared without regard to case; double quotes protect them from the grammar.
pub(super) fn names(setting: &str, standby: &str) -> bool {
    let list = match (setting.find('('), setting.rfind(')')) {
        (Some(open), Some(close)) if open < close => setting.get(open + 1..close).unwrap_or_default(),
        _ => setting,
    };
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case(standby))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn every_form_of_the_setting_is_understood() {
        for setting in
            ["barman", "a, barman", "FIRST 1 (a, Barman)", "ANY 2 (\"barman\", b)", "1 (barman)", "*", "2 (*)"]
        {
            assert!(names(setting, "barman"), "{setting}");
        }
        for setting in ["", "a", "barman2", "FIRST 1 (a, b)", "ANY 1 (barman_x)"] {
            assert!(!names(setting, "barman"), "{setting}");
        }
    }
}
