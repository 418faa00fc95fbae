//! The end that asks.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use barman_catalog::Partial;
use wal_format::WalFileName;

use super::{GREETING, Head, LONGEST_LINE, Piece, Question};
use crate::feed::FoundWal;

/// A connection to the end that has the WAL. Threads may ask at the same time: a question is sent at once, so that its answer
/// is on its way while others are read.
#[derive(Debug)]
pub struct Session<R, W> {
    questions: Mutex<Questions<W>>,
    answers: Arc<Answers<R>>,
}

/// Why a file was not had over a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The connection is of no use any more.
    #[error("the connection was cut")]
    Cut(#[source] io::Error),
    /// The other end says why it cannot be had.
    #[error("{0}")]
    Refused(String),
}

#[derive(Debug)]
struct Questions<W> {
    writer: W,
    /// How many were asked.
    asked: u64,
}

#[derive(Debug)]
struct Answers<R> {
    turn: Mutex<Turn<R>>,
    changed: Condvar,
}

/// Whose answer comes next.
#[derive(Debug)]
struct Turn<R> {
    /// How many were read.
    answered: u64,
    /// Taken by whoever reads an answer, and given back at its end; never after a failure.
    reader: Option<R>,
    is_cut: bool,
}

impl<R: BufRead + Send + 'static, W: Write> Session<R, W> {
    /// Waits to be greeted.
    ///
    /// # Errors
    /// Something else is said, or nothing: the other end does not know how to answer, or cannot be reached.
    pub fn open(mut answers: R, questions: W) -> io::Result<Self> {
        match line(&mut answers)?.as_str() {
            GREETING => {}
            other => return Err(invalid(format!("expected the greeting '{GREETING}', found '{other}'"))),
        }
        let turn = Turn { answered: 0, reader: Some(answers), is_cut: false };
        Ok(Self {
            questions: Mutex::new(Questions { writer: questions, asked: 0 }),
            answers: Arc::new(Answers { turn: Mutex::new(turn), changed: Condvar::new() }),
        })
    }

    /// Whether another session is needed.
    pub fn is_cut(&self) -> bool {
        self.answers.lock().is_cut
    }

    /// Asks for a file; `None` if the archive does not have it. The next answer is read when what is returned was read or
    /// dropped.
    ///
    /// # Errors
    /// The connection is cut, or the other end cannot say.
    pub fn find(&self, name: &WalFileName, partial: Partial) -> Result<Option<FoundWal>, SessionError> {
        let number = self.ask(Question { name: *name, partial }).map_err(|error| {
            self.answers.cut();
            SessionError::Cut(error)
        })?;
        let mut answer = self.answers.wait_for(number)?;
        match answer.line::<Head>().map_err(SessionError::Cut)? {
            Head::Missing => Ok(None),
            Head::Failed(reason) => Err(SessionError::Refused(reason)),
            Head::Found { is_unfinished, format, content } => {
                answer.is_over = false;
                Ok(Some(FoundWal { bytes: Box::new(answer), format, is_unfinished, content }))
            }
        }
    }

    /// Returns the number of the question.
    fn ask(&self, question: Question) -> io::Result<u64> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece: whoever stands between the two ends may look at each.
        questions.writer.write_all(format!("{question}\n").as_bytes())?;
        questions.writer.flush()?;
        questions.asked += 1;
        Ok(questions.asked - 1)
    }
}

impl<R: BufRead> Answers<R> {
    fn lock(&self) -> MutexGuard<'_, Turn<R>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(self: &Arc<Self>, number: u64) -> Result<Answer<R>, SessionError> {
        let mut turn = self.lock();
        loop {
            if turn.is_cut {
                return Err(SessionError::Cut(io::ErrorKind::BrokenPipe.into()));
            }
            if turn.answered == number
                && let Some(reader) = turn.reader.take()
            {
                return Ok(Answer { answers: Arc::clone(self), reader: Some(reader), left: 0, is_over: true });
            }
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn cut(&self) {
        self.lock().is_cut = true;
        self.changed.notify_all();
    }

    fn pass_on(&self, reader: R) {
        let mut turn = self.lock();
        turn.reader = Some(reader);
        turn.answered += 1;
        drop(turn);
        self.changed.notify_all();
    }
}

/// One answer, while it is read.
#[derive(Debug)]
struct Answer<R: BufRead> {
    answers: Arc<Answers<R>>,
    /// `None` after a failure.
    reader: Option<R>,
    /// Bytes of the current piece.
    left: usize,
    is_over: bool,
}

impl<R: BufRead> Answer<R> {
    fn line<T: std::str::FromStr>(&mut self) -> io::Result<T> {
        self.reading(|reader| {
            let line = line(reader)?;
            line.parse().map_err(|_| invalid(format!("what was said cannot be understood: '{line}'")))
        })
    }

    /// Where reading fails once, nobody knows any more what the next byte is.
    fn reading<T>(&mut self, read: impl FnOnce(&mut R) -> io::Result<T>) -> io::Result<T> {
        let reader = self.reader.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let outcome = read(reader);
        if outcome.is_err() {
            self.reader = None;
            self.answers.cut();
        }
        outcome
    }
}

impl<R: BufRead> Read for Answer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_over {
            match self.line()? {
                Piece::Bytes(length) => self.left = length,
                Piece::End => self.is_over = true,
                Piece::Failed(reason) => {
                    self.is_over = true;
                    return Err(io::Error::other(SessionError::Refused(reason)));
                }
            }
        }
        let wanted = self.left.min(buffer.len());
        let Some(wanted @ [_, ..]) = buffer.get_mut(..wanted) else { return Ok(0) };
        let length = self.reading(|reader| match reader.read(wanted)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(length),
        })?;
        self.left -= length;
        Ok(length)
    }
}

impl<R: BufRead> Drop for Answer<R> {
    fn drop(&mut self) {
        // What nobody wanted stands before the next answer.
        if !self.is_over {
            // A failure is either the end of this answer or the end of all.
            let _ = io::copy(self, &mut io::sink());
        }
        if let Some(reader) = self.reader.take() {
            self.answers.pass_on(reader);
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LONGEST_LINE).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
