//! One WAL stream of a [`ScriptedWalsender`](super::ScriptedWalsender).

use std::io;

use bytes::Buf;
use wal_format::{Lsn, TimelineId};

use super::backend_bytes::BackendBytes;
use super::behaviour::{Behaviour, Ending, Lie};
use super::line::Message;
use super::session::Session;

/// A status update, as the server received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The timeline of the stream that it came on.
    pub timeline: TimelineId,
    /// The end of what is written.
    pub written: Option<Lsn>,
    /// The end of what is flushed: all that the receiver promises to keep.
    pub flushed: Option<Lsn>,
    /// The end of what is applied.
    pub applied: Option<Lsn>,
    /// Whether an answer is wanted.
    pub reply: bool,
}

/// Streams what `START_REPLICATION [SLOT "<name>"] PHYSICAL <position> TIMELINE <number>` asks for.
pub(super) async fn serve(session: &mut Session, command: &str) -> io::Result<()> {
    let behaviour = session.behaviour();
    let Some(request) = Request::parse(command) else { return session.refuse("42601", "syntax error").await };
    if let Some((sqlstate, message)) = &behaviour.refusal {
        return session.refuse(sqlstate, message).await;
    }
    if let Err((sqlstate, message)) = request.admit(session) {
        return session.refuse(sqlstate, &message).await;
    }
    let slot = request.slot.clone();
    let mut stream = Stream { at: request.start, sent: 0, asked: false, request, behaviour, session };
    let ended = stream.run().await;
    let shared = &stream.session.shared;
    shared.update(|cluster| slot.and_then(|slot| cluster.slots.get_mut(&slot)).map(|slot| slot.active = false));
    ended
}

struct Request {
    slot: Option<String>,
    start: Lsn,
    timeline: TimelineId,
}

impl Request {
    fn parse(command: &str) -> Option<Self> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (slot, start, timeline) = match words[..] {
            [_, "SLOT", slot, "PHYSICAL", start, "TIMELINE", timeline] => (Some(slot), start, timeline),
            [_, "PHYSICAL", start, "TIMELINE", timeline] => (None, start, timeline),
            _ => return None,
        };
        let timeline = TimelineId::new(timeline.parse().ok()?)?;
        Some(Self { slot: slot.map(|slot| slot.trim_matches('"').to_owned()), start: start.parse().ok()?, timeline })
    }

    /// Checks what PostgreSQL checks before it streams, and takes the slot.
    fn admit(&self, session: &Session) -> Result<(), (&'static str, String)> {
        let Self { slot, start, timeline } = self;
        session.shared.update(|cluster| {
            let end = cluster.end_of(*timeline).filter(|end| cluster.next_of(*timeline).is_none() || start <= end);
            if end.is_none() || !cluster.has(*timeline) {
                let words =
                    format!("requested starting point {start} on timeline {timeline} is not in this server's history");
                return Err(("XX000", words));
            }
            let Some(name) = slot else { return Ok(()) };
            match cluster.slots.get_mut(name) {
                None => Err(("42704", format!("replication slot \"{name}\" does not exist"))),
                Some(slot) if slot.lost => Err(("55000", format!("cannot read from replication slot \"{name}\""))),
                Some(slot) if slot.active => Err(("55006", format!("replication slot \"{name}\" is active for PID 7"))),
                Some(slot) => {
                    slot.active = true;
                    Ok(())
                }
            }
        })
    }
}

struct Stream<'a> {
    session: &'a mut Session,
    request: Request,
    behaviour: Behaviour,
    at: Lsn,
    /// How much WAL has been sent.
    sent: u64,
    /// An answer is awaited.
    asked: bool,
}

impl Stream<'_> {
    async fn run(&mut self) -> io::Result<()> {
        if self.is_over() && self.at == self.end() {
            return self.name_next().await;
        }
        self.session.line.send(&BackendBytes::new().copy_both()).await?;
        self.session.line.follow(&self.behaviour);
        let removed = self.session.shared.state().cluster.removed_segment(self.request.timeline, self.at);
        if let Some(segment) = removed {
            let words = format!("requested WAL segment {segment} has already been removed");
            return self.fail("58P01", &words).await;
        }
        if self.at > self.end() {
            return self
                .fail("XX000", "requested starting point is ahead of the WAL flush position of this server")
                .await;
        }
        self.flow().await
    }

    async fn flow(&mut self) -> io::Result<()> {
        let mut changes = self.session.shared.changes();
        let mut is_told = false;
        loop {
            changes.mark_unchanged();
            // Ahead of the end is who was sent WAL that a promotion has made void.
            if self.asked || self.at >= self.end() {
                if !self.asked && self.is_over() {
                    return self.end_timeline().await;
                }
                if !self.asked && !is_told {
                    is_told = true;
                    if !self.come_to_the_end().await? {
                        return Ok(());
                    }
                }
                tokio::select! {
                    message = self.session.line.receive() => if self.take(&message?).await? { return Ok(()) },
                    _ = changes.changed() => {}
                }
            } else {
                is_told = false;
                self.send_piece().await?;
                // Answers are looked at between any two pieces, as PostgreSQL does.
                tokio::select! {
                    biased;
                    message = self.session.line.receive() => if self.take(&message?).await? { return Ok(()) },
                    () = std::future::ready(()) => {}
                }
            }
        }
    }

    async fn send_piece(&mut self) -> io::Result<()> {
        let lie = self.behaviour.lie.filter(|(after, _)| self.sent >= *after).map(|(_, lie)| lie);
        if lie.is_some() {
            self.behaviour.lie = None;
        }
        if let Some(Lie::Gap(bytes)) = lie {
            self.at = self.at.checked_add(bytes).expect("far from the end").min(self.end());
        }
        let piece = self.session.shared.state().cluster.piece(self.request.timeline, self.at, self.most());
        let said = match lie {
            Some(Lie::GoesBack(by)) => Lsn::new(self.at.as_u64() - by),
            _ => self.at,
        };
        let mut bytes = BackendBytes::new().wal_until(said, self.end(), &piece);
        match lie {
            Some(Lie::Length(length)) => bytes.overwrite(1, &length.to_be_bytes()),
            Some(Lie::Kind(kind)) => bytes.overwrite(5, &[kind]),
            _ => {}
        }
        self.session.line.send(&bytes).await?;
        self.sent += piece.len() as u64;
        self.at = self.at.checked_add(piece.len() as u64).expect("far from the end");
        if self.behaviour.asks {
            self.asked = true;
            self.keep_alive(true).await?;
        }
        Ok(())
    }

    /// Pieces end where the script has a lie in store.
    fn most(&self) -> usize {
        let until_lie = self.behaviour.lie.and_then(|(after, _)| after.checked_sub(self.sent)).filter(|rest| *rest > 0);
        let until_lie = until_lie.and_then(|rest| usize::try_from(rest).ok());
        self.behaviour.piece.min(until_lie.unwrap_or(usize::MAX))
    }

    /// Does what the script says of the end of WAL. False if the session ends with it.
    async fn come_to_the_end(&mut self) -> io::Result<bool> {
        match self.behaviour.ending {
            Ending::Waits => self.keep_alive(false).await?,
            Ending::IsSilent => {}
            Ending::Hangs => std::future::pending().await,
            Ending::ShutsDown => {
                self.session.line.send(&BackendBytes::new().command_complete()).await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Ending::Closes => return Err(io::ErrorKind::ConnectionAborted.into()),
            Ending::IsTerminated => {
                self.fail("57P01", "terminating connection due to administrator command").await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        Ok(true)
    }

    /// Takes what the client says, and returns whether it has ended the stream.
    async fn take(&mut self, message: &Message) -> io::Result<bool> {
        match message.tag {
            b'd' => self.take_data(message).await?,
            b'c' => {
                let end = BackendBytes::new().copy_done().command_complete().command_complete().ready();
                self.session.line.send(&end).await?;
                return Ok(true);
            }
            _ => return Err(io::ErrorKind::ConnectionAborted.into()),
        }
        Ok(false)
    }

    async fn take_data(&mut self, message: &Message) -> io::Result<()> {
        let mut body = message.body.clone();
        if body.len() != 34 || body.get_u8() != b'r' {
            return Ok(());
        }
        let mut position = || Lsn::from_pg(body.get_u64());
        let (written, flushed, applied) = (position(), position(), position());
        body.advance(8);
        let reply = body.get_u8() != 0;
        self.asked = false;
        self.move_slot(flushed);
        self.session.shared.note(Report { timeline: self.request.timeline, written, flushed, applied, reply });
        if reply {
            self.keep_alive(false).await?;
        }
        Ok(())
    }

    fn move_slot(&self, flushed: Option<Lsn>) {
        let Some(name) = &self.request.slot else { return };
        if let Some(slot) = self.session.shared.state().cluster.slots.get_mut(name) {
            slot.restart_lsn = slot.restart_lsn.max(flushed);
        }
    }

    async fn keep_alive(&mut self, reply_requested: bool) -> io::Result<()> {
        let bytes = BackendBytes::new().keepalive(self.end().as_u64(), reply_requested);
        self.session.line.send(&bytes).await
    }

    /// Ends the stream from our side, and goes on when the client has ended its own.
    async fn end_timeline(&mut self) -> io::Result<()> {
        self.session.line.send(&BackendBytes::new().copy_done()).await?;
        loop {
            let message = self.session.line.receive().await?;
            match message.tag {
                b'c' => return self.name_next().await,
                b'd' => self.take_data(&message).await?,
                _ => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    async fn name_next(&mut self) -> io::Result<()> {
        let next = self.session.shared.state().cluster.next_of(self.request.timeline);
        let (timeline, switch) = next.map(|(id, at)| (id.to_string(), at.to_string())).expect("the timeline is over");
        let columns = ["next_tli", "next_tli_startpos"];
        let result = BackendBytes::new().result(&columns, &[&[Some(&timeline), Some(&switch)]]);
        self.session.line.send(&result.command_complete().ready()).await
    }

    async fn fail(&mut self, sqlstate: &str, message: &str) -> io::Result<()> {
        self.session.refuse(sqlstate, message).await
    }

    fn is_over(&self) -> bool {
        self.session.shared.state().cluster.next_of(self.request.timeline).is_some()
    }

    fn end(&self) -> Lsn {
        self.session.shared.state().cluster.end_of(self.request.timeline).unwrap_or(self.at)
    }
}
