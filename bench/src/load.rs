//! The clients: keep-alive connections of HTTP/1.1, each with one request under way at a time.
//!
//! They run in one thread with an event loop, so that a small machine is left to the gateway.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// The longest time in which nothing arrives.
const PATIENCE: Duration = Duration::from_secs(10);

const MAX_HEADERS: usize = 64;

/// Clients that are connected to one gateway.
pub struct Load {
    poll: Poll,
    connections: Vec<Connection>,
}

/// The outcome of requests.
pub struct Outcome {
    /// The time from the first request to the last answer.
    pub elapsed: Duration,
    /// Nanoseconds from a request's first byte sent to its answer's last byte received.
    pub latency: Histogram<u64>,
    /// The answers with the expected status.
    pub expected: u64,
    /// All answers.
    pub answers: u64,
}

impl Load {
    /// Connects `connections` clients.
    pub fn connect(to: SocketAddr, connections: usize) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let connections = (0..connections)
            .map(|number| {
                let stream =
                    std::net::TcpStream::connect(to).with_context(|| format!("no gateway at {to}"))?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
                Ok(Connection { stream, sent: Instant::now(), answer: Vec::with_capacity(4_096) })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { poll, connections })
    }

    /// Sends `requests` requests. `write` appends request number n; `status` is the answer that each should get.
    pub fn send(
        &mut self,
        requests: u64,
        status: u16,
        mut write: impl FnMut(u64, &mut Vec<u8>),
    ) -> anyhow::Result<Outcome> {
        let mut latency = Histogram::new_with_max(u64::try_from(PATIENCE.as_nanos())?, 3)?;
        let (mut sent, mut answers, mut expected) = (0, 0, 0);
        let mut request = Vec::with_capacity(1_024);
        let start = Instant::now();
        for connection in &mut self.connections {
            if sent == requests {
                break;
            }
            connection.ask(sent, &mut request, &mut write)?;
            sent += 1;
        }
        let mut events = Events::with_capacity(self.connections.len());
        while answers < requests {
            match self.poll.poll(&mut events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            ensure!(!events.is_empty(), "the gateway has said nothing for {PATIENCE:?}");
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                let Some(got) = connection.receive()? else { continue };
                latency.saturating_record(u64::try_from(connection.sent.elapsed().as_nanos())?);
                answers += 1;
                expected += u64::from(got == status);
                if sent < requests {
                    connection.ask(sent, &mut request, &mut write)?;
                    sent += 1;
                }
            }
        }
        Ok(Outcome { elapsed: start.elapsed(), latency, expected, answers })
    }
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    answer: Vec<u8>,
}

impl Connection {
    fn ask(
        &mut self,
        number: u64,
        request: &mut Vec<u8>,
        write: &mut impl FnMut(u64, &mut Vec<u8>),
    ) -> io::Result<()> {
        request.clear();
        write(number, request);
        self.sent = Instant::now();
        // Nothing else is under way, so a request of a few hundred bytes always fits into the socket's buffer.
        self.stream.write_all(request)
    }

    /// The status of the answer, once it is complete.
    fn receive(&mut self) -> anyhow::Result<Option<u16>> {
        let mut buffer = [0; 8_192];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the gateway has closed a connection"),
                Ok(bytes) => self.answer.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = status_if_whole(&self.answer)? {
                self.answer.clear();
                return Ok(Some(status));
            }
        }
    }
}

/// The status of an answer, if it is complete.
fn status_if_whole(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body) = head.parse(answer)? else { return Ok(None) };
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer without a length")?;
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    match answer.len().cmp(&(body + length)) {
        std::cmp::Ordering::Less => Ok(None),
        std::cmp::Ordering::Equal => Ok(head.code),
        std::cmp::Ordering::Greater => bail!("more came than was asked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollgate_testkit::upstream::Upstream;

    #[test]
    fn every_request_is_sent_once_and_every_answer_counted() {
        let upstream = Upstream::on_loopback().unwrap();
        let mut load = Load::connect(upstream.address(), 5).unwrap();
        let mut numbers = Vec::new();
        let outcome = load
            .send(103, 200, |number, request| {
                numbers.push(number);
                request.extend_from_slice(b"GET /identify HTTP/1.1\r\nhost: sample\r\n\r\n");
            })
            .unwrap();
        assert_eq!(numbers, (0..103).collect::<Vec<_>>());
        assert_eq!((outcome.expected, outcome.answers, outcome.latency.len()), (103, 103, 103));
        assert_eq!(upstream.requests(), 103);
        let median = Duration::from_nanos(outcome.latency.value_at_quantile(0.5));
        assert!(Duration::ZERO < median && median < outcome.elapsed);
        let wrong =
            load.send(7, 418, |_, request| request.extend_from_slice(b"GET / HTTP/1.1\r\nhost: s\r\n\r\n"));
        assert_eq!(wrong.unwrap().expected, 0);
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 429 No\r\nContent-Length: 3\r\n\r\nabc";
        for end in 0..answer.len() {
            assert_eq!(status_if_whole(&answer[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(status_if_whole(answer).unwrap(), Some(429));
        assert!(status_if_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx").is_err());
    }
}
