//! A bad network between gateways and store: a proxy that loses, repeats, delays and spoils whole messages.
//!
//! It supports only the HTTP/1.1 that gateway and store speak: heads, and bodies with a content length.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the network does to calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    /// It passes them on.
    #[default]
    Fair,
    /// One call in this many has bad luck, each time of another [kind](Luck).
    Foul(u64),
    /// Every reply is delayed by this much.
    Late(Duration),
    /// Every reply is a 200 with a body that no store sends.
    Garbage,
    /// Every reply is a 500.
    Failing,
    /// Every reply stops in its middle, and its connection closes.
    Half,
    /// Every connection is closed as soon as a request comes, as by a load balancer that has no store behind it.
    Closing,
    /// Every connection is reset as soon as a request comes.
    Resetting,
}

/// What can happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// The store gets it twice.
    Repeated,
    /// The reply comes when nobody waits for it any more, after the replies to later calls.
    Late,
    /// The store never sees it.
    RequestLost,
    /// The store has taken the call, but its reply is lost.
    ReplyLost,
}

impl Luck {
    /// All kinds, in the order in which they happen.
    pub const ALL: [Self; 4] = [Self::Repeated, Self::Late, Self::RequestLost, Self::ReplyLost];

    /// This exceeds any gateway's patience in the tests.
    const LATE: Duration = Duration::from_millis(400);
}

/// The proxy, stopped when this is dropped.
#[derive(Debug)]
pub struct Chaos {
    address: SocketAddr,
    sky: Arc<Sky>,
    // Dropping it drops all tasks of the proxy.
    _runtime: tokio::runtime::Runtime,
}

#[derive(Debug)]
struct Sky {
    store: SocketAddr,
    weather: Mutex<Weather>,
    calls: AtomicU64,
    /// How often each of [`Luck::ALL`] struck.
    struck: [AtomicU64; Luck::ALL.len()],
}

/// What the proxy does with one call.
enum Fate {
    Pass,
    Struck(Luck),
    Late(Duration),
    Answer(&'static [u8]),
    Half,
    Close,
    Reset,
}

impl Chaos {
    /// Listens on a free port of 127.0.0.1 and forwards to a store, which need not run yet.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn before(store: SocketAddr) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("chaos")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let sky = Arc::new(Sky {
            store,
            weather: Mutex::default(),
            calls: AtomicU64::new(0),
            struck: Default::default(),
        });
        runtime.spawn(serve(listener, Arc::clone(&sky)));
        Ok(Self { address, sky, _runtime: runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to calls that come from now on.
    pub fn set(&self, weather: Weather) {
        *self.sky.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.sky.calls.load(Ordering::Relaxed)
    }

    /// How often each of [`Luck::ALL`] has struck.
    #[must_use]
    pub fn struck(&self) -> [u64; Luck::ALL.len()] {
        self.sky.struck.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Sky {
    fn fate(&self) -> Fate {
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        match *self.weather.lock().unwrap_or_else(PoisonError::into_inner) {
            Weather::Fair => Fate::Pass,
            Weather::Foul(one_in) if number.is_multiple_of(one_in.max(1)) => {
                let turn = (number / one_in.max(1) - 1) as usize % Luck::ALL.len();
                self.struck[turn].fetch_add(1, Ordering::Relaxed);
                Fate::Struck(Luck::ALL[turn])
            }
            Weather::Foul(_) => Fate::Pass,
            Weather::Late(by) => Fate::Late(by),
            Weather::Garbage => {
                Fate::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n\x01\xff\xff\xff\xffhuh?")
            }
            Weather::Failing => {
                Fate::Answer(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n")
            }
            Weather::Half => Fate::Half,
            Weather::Closing => Fate::Close,
            Weather::Resetting => Fate::Reset,
        }
    }
}

async fn serve(listener: TcpListener, sky: Arc<Sky>) {
    loop {
        let Ok((gateway, _)) = listener.accept().await else { continue };
        let sky = Arc::clone(&sky);
        // Either side may end a connection. What the other side sees is the test's matter.
        tokio::spawn(async move { drop(hand_on(gateway, &sky).await) });
    }
}

/// Serves one connection from a gateway, over one to the store.
async fn hand_on(mut gateway: TcpStream, sky: &Sky) -> std::io::Result<()> {
    gateway.set_nodelay(true)?;
    let mut store = None;
    loop {
        let request = message(&mut gateway).await?;
        match sky.fate() {
            Fate::Pass => gateway.write_all(&ask(&mut store, sky, &request).await?).await?,
            Fate::Answer(reply) => gateway.write_all(reply).await?,
            Fate::Late(by) => {
                tokio::time::sleep(by).await;
                gateway.write_all(&ask(&mut store, sky, &request).await?).await?;
            }
            Fate::Half => {
                let reply = ask(&mut store, sky, &request).await?;
                return gateway.write_all(&reply[..reply.len() - 1]).await;
            }
            Fate::Close => return Ok(()),
            Fate::Reset => return socket2::SockRef::from(&gateway).set_linger(Some(Duration::ZERO)),
            Fate::Struck(Luck::RequestLost) => return silence(gateway).await,
            Fate::Struck(Luck::ReplyLost) => {
                ask(&mut store, sky, &request).await?;
                return silence(gateway).await;
            }
            Fate::Struck(Luck::Repeated) => {
                ask(&mut store, sky, &request).await?;
                gateway.write_all(&ask(&mut store, sky, &request).await?).await?;
            }
            Fate::Struck(Luck::Late) => {
                let reply = ask(&mut store, sky, &request).await?;
                tokio::time::sleep(Luck::LATE).await;
                gateway.write_all(&reply).await?;
            }
        }
    }
}

/// Sends nothing until the gateway gives up.
async fn silence(mut gateway: TcpStream) -> std::io::Result<()> {
    let mut nothing = [0; 256];
    while gateway.read(&mut nothing).await? > 0 {}
    Ok(())
}

/// The store's reply to a request.
async fn ask(connection: &mut Option<TcpStream>, sky: &Sky, request: &[u8]) -> std::io::Result<Vec<u8>> {
    let store = match connection {
        Some(store) => store,
        None => connection.insert(TcpStream::connect(sky.store).await?),
    };
    store.set_nodelay(true)?;
    store.write_all(request).await?;
    message(store).await
}

/// Reads the next message: its head, and the body of the length in it.
async fn message(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
            && bytes.len() >= end + body_length(&bytes[..end])
        {
            return Ok(bytes);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let lengths = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;
    use crate::upstream::Upstream;

    #[test]
    fn in_fair_weather_answers_pass_as_they_are() {
        let upstream = Upstream::on_loopback().unwrap();
        let chaos = Chaos::before(upstream.address()).unwrap();
        let mut client = Client::to(chaos.address());
        assert_eq!(client.get("/a").unwrap().json()["path"], "/a");
        assert_eq!(client.get("/b").unwrap().json()["path"], "/b");
        assert_eq!((chaos.calls(), chaos.struck()), (2, [0; 4]));
    }

    #[test]
    fn a_repeated_call_reaches_the_store_twice_and_is_answered_once() {
        let upstream = Upstream::on_loopback().unwrap();
        let chaos = Chaos::before(upstream.address()).unwrap();
        chaos.set(Weather::Foul(2));
        let mut client = Client::to(chaos.address());
        client.get("/").unwrap();
        assert_eq!((upstream.requests(), chaos.struck()), (1, [0; 4]));
        client.get("/").unwrap();
        assert_eq!((upstream.requests(), chaos.struck()), (3, [1, 0, 0, 0]));
    }

    #[test]
    fn half_a_reply_is_an_error_and_a_spoilt_one_is_not_the_stores() {
        let upstream = Upstream::on_loopback().unwrap();
        let chaos = Chaos::before(upstream.address()).unwrap();
        chaos.set(Weather::Half);
        assert!(Client::to(chaos.address()).get("/").is_err());
        for weather in [Weather::Closing, Weather::Resetting] {
            chaos.set(weather);
            assert!(Client::to(chaos.address()).get("/").is_err(), "{weather:?}");
        }
        chaos.set(Weather::Failing);
        assert_eq!(Client::to(chaos.address()).get("/").unwrap().status, 500);
        chaos.set(Weather::Garbage);
        assert_eq!(Client::to(chaos.address()).get("/").unwrap().body.len(), 9);
        assert_eq!(upstream.requests(), 1);
    }
}
