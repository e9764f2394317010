//! A stand-in for what only a real Kong has: `monitoring/kong-sample.txt`, which grows.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use tollgate_testkit::workspace;

/// Serves the sample on any path until this process ends.
pub fn serve() -> SocketAddr {
    let sample = workspace::read("monitoring/kong-sample.txt").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let began = Instant::now();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that hangs up early gets nothing.
            let _ = answer(stream, &grown(&sample, began.elapsed().as_secs_f64()));
        }
    });
    address
}

fn answer(mut stream: TcpStream, body: &str) -> std::io::Result<()> {
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The sample after `seconds`: counters have grown, faster and slower by turns; gauges have not.
fn grown(sample: &str, seconds: f64) -> String {
    let growth = seconds + 30.0 * (1.0 - (seconds / 60.0).cos());
    let mut is_counted = false;
    let mut text = String::new();
    for line in sample.lines() {
        if line.starts_with('#') {
            is_counted = line.ends_with(" counter") || line.ends_with(" histogram");
            text += line;
        } else if let Some((series, value)) = line.rsplit_once(' ').filter(|_| is_counted) {
            let value: f64 = value.parse().unwrap();
            text += &format!("{series} {}", value * growth);
        } else {
            text += line;
        }
        text.push('\n');
    }
    text
}

#[test]
fn what_counts_grows_and_what_measures_stays() {
    let sample = "# a\n# TYPE a counter\na{b=\"c d\"} 2\n# TYPE e gauge\ne 3\n";
    let after = |seconds| {
        grown(sample, seconds).lines().nth(2).unwrap().rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(after(0.0), 0.0);
    assert!(after(10.0) > 20.0 && after(100.0) > after(99.0));
    assert!(grown(sample, 9.0).contains("\ne 3\n"));
}
