//! The end that has the WAL.

use std::io::{self, BufRead, Read as _, Write};

use barman_storage::one_line;

use super::{GREETING, Head, LONGEST_LINE, LONGEST_PIECE, Piece, Question};
use crate::feed::{FoundWal, WalSource};

/// Answers questions until there are no more.
///
/// # Errors
/// The other end has gone, or says what is no question.
pub fn answer_session(source: &dyn WalSource, questions: &mut dyn BufRead, answers: &mut dyn Write) -> io::Result<()> {
    writeln!(answers, "{GREETING}")?;
    answers.flush()?;
    let mut line = String::new();
    while questions.take(LONGEST_LINE).read_line(&mut line)? > 0 {
        let question = line.trim_end_matches('\n').parse();
        let question = question.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        answer(source, question, answers)?;
        answers.flush()?;
        line.clear();
    }
    Ok(())
}

fn answer(source: &dyn WalSource, question: Question, answers: &mut dyn Write) -> io::Result<()> {
    match source.find(&question.name, question.partial) {
        Ok(Some(FoundWal { bytes, format, is_unfinished, content })) => {
            writeln!(answers, "{}", Head::Found { is_unfinished, format, content })?;
            send(bytes, answers)
        }
        Ok(None) => writeln!(answers, "{}", Head::Missing),
        Err(error) => writeln!(answers, "{}", Head::Failed(one_line(&*error))),
    }
}

fn send(mut bytes: Box<dyn io::Read + Send>, answers: &mut dyn Write) -> io::Result<()> {
    let mut buffer = vec![0; LONGEST_PIECE];
    let last = loop {
        match bytes.read(&mut buffer) {
            Ok(0) => break Piece::End,
            Ok(length) => {
                writeln!(answers, "{}", Piece::Bytes(length))?;
                answers.write_all(buffer.get(..length).unwrap_or_default())?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Piece::Failed(one_line(&error)),
        }
    };
    writeln!(answers, "{last}")
}
