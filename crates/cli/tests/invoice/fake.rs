//! A store's calls for invoices, over real connections.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// The token that the fake store wants.
pub const TOKEN: &str = "admin-token-000001";

/// What the store says.
pub struct Says {
    /// The `Date` of its answers; empty for none.
    pub date: &'static str,
    /// Consumers and their periods.
    pub customers: Vec<(String, Value)>,
    /// Consumers, tiers, and the digits of what they used.
    pub usage: Vec<(String, &'static str, String)>,
    /// The digits of what consumers used by day.
    pub days: HashMap<String, Vec<(&'static str, &'static str)>>,
    /// What is answered instead to paths that begin like this: a status and a body.
    pub instead: Vec<(&'static str, u16, String)>,
    /// Ends the list of usage before its last bytes.
    pub breaks_off: bool,
    /// Every request's path, in order.
    pub asked: Vec<String>,
}

impl Says {
    /// A consumer that one customer has always paid for.
    pub fn with(mut self, customer: &str, consumer: &str, tier: &'static str, used: &str) -> Self {
        self.customers.push((consumer.into(), json!([{"customer": customer, "starts": null, "ends": null}])));
        self.without_customer(consumer, tier, used)
    }

    /// A consumer that nobody pays for.
    pub fn without_customer(mut self, consumer: &str, tier: &'static str, used: &str) -> Self {
        self.usage.push((consumer.into(), tier, used.into()));
        self
    }
}

/// What a store says two days after November, without anybody's use.
pub fn december() -> Says {
    Says {
        date: "Wed, 02 Dec 2026 10:00:00 GMT",
        customers: Vec::new(),
        usage: Vec::new(),
        days: HashMap::new(),
        instead: Vec::new(),
        breaks_off: false,
        asked: Vec::new(),
    }
}

/// A running fake; it ends with the test's process.
pub struct Fake {
    pub says: Arc<Mutex<Says>>,
    pub url: String,
}

impl Fake {
    pub fn start(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let says = Arc::new(Mutex::new(says));
        let shared = Arc::clone(&says);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&connection.unwrap(), &shared));
            }
        });
        Self { says, url }
    }

    /// Changes what it says from now on.
    pub fn change(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.says.lock().unwrap());
    }

    /// The paths that it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.says.lock().unwrap().asked.clone()
    }
}

fn serve(connection: &TcpStream, says: &Mutex<Says>) {
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let mut has_token = false;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header == "\r\n" {
                break;
            }
            has_token |= header.trim().eq_ignore_ascii_case(&format!("authorization: Bearer {TOKEN}"));
        }
        let mut says = says.lock().unwrap();
        says.asked.push(path.clone());
        let (status, body) = if has_token { answer(&says, &path) } else { (401, problem("no token")) };
        let date = if says.date.is_empty() { String::new() } else { format!("date: {}\r\n", says.date) };
        let is_list = path.contains("format=json");
        let mut whole = format!(
            "HTTP/1.1 {status} x\r\n{date}location: /elsewhere\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        // In small parts, so that a row comes in several.
        for part in body.as_bytes().chunks(if is_list { 700 } else { 100_000 }) {
            write!(whole, "{:x}\r\n", part.len()).unwrap();
            whole += &String::from_utf8_lossy(part);
            whole += "\r\n";
        }
        let breaks_off = says.breaks_off && is_list;
        drop(says);
        if !breaks_off {
            whole += "0\r\n\r\n";
        }
        let mut writer = connection;
        if writer.write_all(whole.as_bytes()).is_err() || breaks_off {
            let _ = connection.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn problem(detail: &str) -> String {
    json!({"title": "no", "detail": detail}).to_string()
}

/// The status and the body of an answer. A page of customers has two consumers, whatever is asked for.
fn answer(says: &Says, path: &str) -> (u16, String) {
    if let Some((_, status, body)) = says.instead.iter().find(|(begins, ..)| path.starts_with(begins)) {
        return (*status, body.clone());
    }
    let (path, query) = path.split_once('?').unwrap();
    let query: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    if path == "/v1/customers/fp" {
        let after =
            query.get("after").map_or(0, |after| after.strip_prefix("after%2F").unwrap().parse().unwrap());
        let page = says.customers.iter().skip(after).take(2);
        let customers: Vec<Value> =
            page.map(|(consumer, periods)| json!({"consumer": consumer, "periods": periods})).collect();
        let next = (after + 2 < says.customers.len()).then(|| format!("after/{}", after + 2));
        return (200, json!({"customers": customers, "next": next}).to_string());
    }
    let month = query.get("month").copied().unwrap_or("2026-11");
    if path == "/v1/usage/fp" {
        let rows = says.usage.iter().map(|(consumer, tier, used)| {
            let name = json!(consumer);
            format!(
                "\n{{\"namespace\":\"fp\",\"consumer\":{name},\"tier\":\"{tier}\",\"month\":\"{month}\",\"used\":{used},\
                 \"limit\":null,\"remaining\":null,\"resets_at\":\"2026-12-01T00:00:00Z\"}}"
            )
        });
        return (200, format!("[{}\n]\n", rows.collect::<Vec<_>>().join(",")));
    }
    let consumer = path.strip_prefix("/v1/usage/fp/").unwrap();
    assert_eq!((query["from"], query["to"], query["by"]), ("2026-11-01", "2026-12-01", "day"));
    let days = says.days[consumer].iter().map(|(day, used)| format!("{{\"day\":\"{day}\",\"used\":{used}}}"));
    let days = days.collect::<Vec<_>>().join(",");
    (200, format!("{{\"namespace\":\"fp\",\"consumer\":\"{consumer}\",\"tier\":\"pro\",\"days\":[{days}]}}"))
}
