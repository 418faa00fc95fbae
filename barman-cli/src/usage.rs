//! A command line that cannot be understood: the form and the exit status that scripts know from Barman.

use crate::exit_code;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Prints what clap has to say and returns the exit status: 0 for help that was asked for, 2 for a usage error.
pub(crate) fn report(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        // Only a closed pipe makes this fail, and then nobody reads it.
        let _ = error.print();
        return exit_code::SUCCESS;
    }
    let text = error.render().to_string();
    let (message, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let usage = rest.lines().find_map(|line| line.strip_prefix("Usage: "));
    if let Some(usage) = usage {
        eprintln!("usage: {usage}");
    }
    eprintln!("{}: error: {}", program(usage), one_line(message.trim_start_matches("error: ")));
    if let Some(ContextValue::Strings(suggestions)) = error.get(ContextKind::SuggestedSubcommand) {
        eprintln!("HINT: did you mean '{}'?", suggestions.join("' or '"));
    }
    exit_code::USAGE
}

/// Returns `barman`, followed by the subcommand if the usage names one.
fn program(usage: Option<&str>) -> String {
    let words = usage.unwrap_or("barman").split_whitespace();
    let names = words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-')).take(2);
    names.collect::<Vec<_>>().join(" ")
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_named_with_its_subcommand() {
        assert_eq!(program(Some("barman backup [OPTIONS] <SERVER_NAME>...")), "barman backup");
        assert_eq!(program(Some("barman [OPTIONS] [COMMAND]")), "barman");
        assert_eq!(program(None), "barman");
    }
}
