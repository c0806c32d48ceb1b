//! Tor's control protocol: commands, replies and events, no more than experiments need.

use std::collections::{HashMap, VecDeque};
use std::io::{self, BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How long a node may take to answer: those that start have keys to make.
const PATIENCE: Duration = Duration::from_secs(30);

/// A reply: its code, and its lines without codes. Data of a line is appended to it, each line of data after a newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: u16,
    /// At least one.
    pub lines: Vec<String>,
}

/// Puts lines together to replies. It does no I/O.
#[derive(Debug, Default)]
pub struct Parser {
    lines: Vec<String>,
    in_data: bool,
}

impl Parser {
    /// Takes a line without its end; gives the reply that it completes.
    ///
    /// # Errors
    /// If this is not the control protocol.
    pub fn feed(&mut self, line: &str) -> io::Result<Option<Reply>> {
        if self.in_data {
            if line == "." {
                self.in_data = false;
            } else if let Some(last) = self.lines.last_mut() {
                last.push('\n');
                last.push_str(line.strip_prefix('.').unwrap_or(line));
            }
            return Ok(None);
        }
        let wrong = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not the control protocol: {line:?}"),
            )
        };
        let code: u16 = line
            .get(..3)
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(wrong)?;
        let kind = *line.as_bytes().get(3).ok_or_else(wrong)?;
        self.lines
            .push(line.get(4..).ok_or_else(wrong)?.to_string());
        match kind {
            b' ' => Ok(Some(Reply {
                code,
                lines: std::mem::take(&mut self.lines),
            })),
            b'-' => Ok(None),
            b'+' => {
                self.in_data = true;
                Ok(None)
            }
            _ => Err(wrong()),
        }
    }
}

/// The KEY=VALUE words of an event.
pub fn keywords(line: &str) -> HashMap<&str, &str> {
    line.split_whitespace()
        .filter_map(|word| word.split_once('='))
        .collect()
}

struct State {
    out: UnixStream,
    /// Who waits for the replies that are to come, in order; nobody for some.
    waiting: VecDeque<Option<Sender<Reply>>>,
    closed: bool,
}

/// An authenticated connection to a node. Clones are the same connection.
#[derive(Clone)]
pub struct Control {
    name: String,
    state: Arc<Mutex<State>>,
}

impl Control {
    /// Connects to a node's control socket and authenticates. `on_event` is called with the connection and each event, on
    /// the thread that reads: it may send commands, and must not wait for their replies.
    ///
    /// # Errors
    /// Also while the node does not listen yet.
    pub fn connect(
        name: &str,
        socket: &Path,
        mut on_event: impl FnMut(&Control, &str) + Send + 'static,
    ) -> io::Result<Control> {
        let stream = UnixStream::connect(socket)?;
        let reader = BufReader::new(stream.try_clone()?);
        let control = Control {
            name: name.to_string(),
            state: Arc::new(Mutex::new(State {
                out: stream,
                waiting: VecDeque::new(),
                closed: false,
            })),
        };
        let reading = control.clone();
        thread::Builder::new()
            .name(format!("control {name}"))
            .spawn(move || {
                let _ = reading.read(reader, &mut on_event);
                let mut state = reading.state.lock().expect("no panic");
                state.closed = true;
                state.waiting.clear();
            })?;
        control.command("AUTHENTICATE")?;
        Ok(control)
    }

    fn read(
        &self,
        mut reader: BufReader<UnixStream>,
        on_event: &mut dyn FnMut(&Control, &str),
    ) -> io::Result<()> {
        let mut parser = Parser::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let text = String::from_utf8_lossy(&line);
            let Some(reply) = parser.feed(text.trim_end_matches(['\r', '\n']))? else {
                continue;
            };
            if reply.code >= 600 {
                on_event(self, &reply.lines[0]);
                continue;
            }
            let waiting = self.state.lock().expect("no panic").waiting.pop_front();
            if let Some(Some(waiting)) = waiting {
                let _ = waiting.send(reply);
            }
        }
    }

    fn error(&self, what: &str) -> io::Error {
        io::Error::other(format!("{}: {what}", self.name))
    }

    fn post(&self, command: &str, waiting: Option<Sender<Reply>>) -> io::Result<()> {
        let mut state = self.state.lock().expect("no panic");
        if state.closed {
            return Err(self.error("it has closed its control connection"));
        }
        state.waiting.push_back(waiting);
        state.out.write_all(format!("{command}\r\n").as_bytes())
    }

    /// Sends a command, and does not wait for the reply.
    ///
    /// # Errors
    /// If the node has gone.
    pub fn send(&self, command: &str) -> io::Result<()> {
        self.post(command, None)
    }

    /// Sends a command; gives the lines of a positive reply.
    ///
    /// # Errors
    /// What the node has against it, or that it does not answer.
    pub fn command(&self, command: &str) -> io::Result<Vec<String>> {
        let (sender, reply) = channel();
        self.post(command, Some(sender))?;
        let verb: Vec<&str> = command.split_whitespace().take(2).collect();
        let verb = verb.join(" ");
        match reply.recv_timeout(PATIENCE) {
            Ok(reply) if (200..300).contains(&reply.code) => Ok(reply.lines),
            Ok(reply) => {
                let last = reply.lines.last().map_or("", String::as_str);
                Err(self.error(&format!("{verb}: {} {last}", reply.code)))
            }
            Err(RecvTimeoutError::Timeout) => Err(self.error(&format!("no answer to {verb}"))),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.error("it has closed its control connection"))
            }
        }
    }

    /// The value of `GETINFO key`, its lines separated by newlines.
    ///
    /// # Errors
    /// If the node knows no such value.
    pub fn info(&self, key: &str) -> io::Result<String> {
        let lines = self.command(&format!("GETINFO {key}"))?;
        let value = lines[0].split_once('=').map_or("", |(_, value)| value);
        Ok(value.strip_prefix('\n').unwrap_or(value).to_string())
    }

    /// Closes it.
    pub fn close(&self) {
        let state = self.state.lock().expect("no panic");
        let _ = state.out.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_several_lines_and_with_data_come_as_one() {
        let mut parser = Parser::default();
        let lines = ["250+ns/all=", "r one", "..dots", ".", "250-more", "250 OK"];
        let replies: Vec<_> = lines
            .iter()
            .map(|line| parser.feed(line).unwrap())
            .collect();
        assert!(replies[..5].iter().all(Option::is_none));
        let reply = replies[5].clone().unwrap();
        assert_eq!(reply.code, 250);
        assert_eq!(reply.lines, ["ns/all=\nr one\n.dots", "more", "OK"]);
        assert_eq!(parser.feed("650 CIRC 1 BUILT").unwrap().unwrap().code, 650);
    }

    #[test]
    fn what_is_not_the_protocol_is_an_error() {
        for line in ["", "25", "HTTP/1.0 400", "250", "250?no"] {
            assert!(Parser::default().feed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn words_with_values_are_found() {
        let values =
            keywords("STREAM 5 NEW 0 10.0.0.1:80 SOURCE_ADDR=127.0.0.1:40000 PURPOSE=USER");
        assert_eq!(values["SOURCE_ADDR"], "127.0.0.1:40000");
        assert_eq!(values.len(), 2);
    }
}
