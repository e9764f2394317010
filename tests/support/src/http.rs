//! An HTTP/1.1 client that sends a request byte for byte as it is told.
//!
//! No library's client does that: they normalize paths, reorder headers and refuse odd bytes, all of which a gateway must
//! withstand. It blocks, and keeps one connection per client alive.

mod response;

use std::io::{self, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

pub use response::Response;
use socket2::{Domain, Socket, Type};

/// The longest wait for a byte of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that has idled for longer is not used again. The gateway may be closing it at this very moment, and a request
/// lost that way would look like the gateway's fault. (Envoy's and Kong's own limits are minutes.)
const IDLE: Duration = Duration::from_secs(5);

/// A request as it goes over the wire.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// A request for a target, which may be any text without a line break: nothing is normalized or escaped.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET request.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// Adds a header, whose value may be any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().into()));
        self
    }

    /// Sets a JSON document as its body.
    #[must_use]
    pub fn json(self, body: &serde_json::Value) -> Self {
        self.body("application/json", body.to_string().into_bytes())
    }

    /// Sets its body, of this content type.
    #[must_use]
    pub fn body(self, kind: &str, body: Vec<u8>) -> Self {
        let length = body.len().to_string();
        Self { body, ..self.header("Content-Type", kind).header("Content-Length", length) }
    }

    /// Adds a sample consumer's API key.
    #[must_use]
    pub fn of(self, consumer: &str) -> Self {
        self.header("apikey", crate::sample::key(consumer))
    }

    fn write(&self, host: SocketAddr, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        out.write_all(&bytes)
    }
}

/// One connection to a gateway, opened when it is needed.
#[derive(Debug)]
pub struct Client {
    gateway: SocketAddr,
    local: Option<IpAddr>,
    connection: Option<(BufReader<TcpStream>, Instant)>,
}

impl Client {
    /// A client of the gateway at an address.
    #[must_use]
    pub fn to(gateway: SocketAddr) -> Self {
        Self { gateway, local: None, connection: None }
    }

    /// Makes the client call from an address of this machine: on loopback every 127.x.y.z is one.
    #[must_use]
    pub fn from(self, local: IpAddr) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Opens the connection, if there is none: the moment of sending may matter.
    ///
    /// # Errors
    /// If the gateway does not accept it.
    pub fn connect(&mut self) -> io::Result<()> {
        self.connection = Some((self.opened()?, Instant::now()));
        Ok(())
    }

    /// Sends a request and reads the answer. Nothing is ever sent twice.
    ///
    /// # Errors
    /// When the connection fails or the answer is not HTTP.
    pub fn send(&mut self, request: &Request) -> io::Result<Response> {
        let mut stream = self.opened()?;
        request.write(self.gateway, stream.get_mut())?;
        let response = Response::read(&mut stream, request.method == "HEAD")?;
        if !response.closes() {
            self.connection = Some((stream, Instant::now()));
        }
        Ok(response)
    }

    /// [`Client::send`] of a GET request.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn get(&mut self, target: &str) -> io::Result<Response> {
        self.send(&Request::get(target))
    }

    fn opened(&mut self) -> io::Result<BufReader<TcpStream>> {
        match self.connection.take() {
            Some((stream, used)) if used.elapsed() < IDLE => Ok(stream),
            _ => self.open(),
        }
    }

    fn open(&self) -> io::Result<BufReader<TcpStream>> {
        let socket = Socket::new(Domain::for_address(self.gateway), Type::STREAM, None)?;
        if let Some(local) = self.local {
            socket.bind(&SocketAddr::new(local, 0).into())?;
        }
        socket.connect_timeout(&self.gateway.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(socket.into()))
    }
}

/// Runs `act` in `n` threads that start together, and collects what they return, in order.
pub fn at_once<T: Send>(n: usize, act: impl Fn(usize, &Barrier) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(n);
    let (act, start) = (&act, &start);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|i| scope.spawn(move || act(i, start))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_as_it_was_written() {
        let mut sent = Vec::new();
        let request = Request::get("//a/../%62 c").header("X-Odd", b"\xff\x80").header("x-odd", "2");
        request.write("127.0.0.1:80".parse().unwrap(), &mut sent).unwrap();
        let wanted =
            b"GET //a/../%62 c HTTP/1.1\r\nHost: 127.0.0.1:80\r\nX-Odd: \xff\x80\r\nx-odd: 2\r\n\r\n";
        assert_eq!(sent, wanted);
    }
}
