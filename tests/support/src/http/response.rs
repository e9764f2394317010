//! An HTTP answer.

use std::io::{self, BufRead, Read};

/// This is more than any gateway here sends.
const MAX_HEADERS: usize = 256;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case, and values, as they arrived.
    pub headers: Vec<(String, String)>,
    /// The body, without the framing of its chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The value of a header that must not occur twice.
    ///
    /// # Panics
    /// If it does.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let first = values.next();
        assert_eq!(values.next(), None, "a second {name} in {self:#?}");
        first
    }

    /// A header's value as a whole number.
    ///
    /// # Panics
    /// If there is a value that is not one.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the connection ends with this answer.
    pub(super) fn closes(&self) -> bool {
        self.all("connection").any(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Reads one answer and skips interim ones (1xx).
    pub(super) fn read(stream: &mut impl BufRead, to_head: bool) -> io::Result<Self> {
        loop {
            let mut response = parse(&head(stream)?)?;
            if (100..200).contains(&response.status) {
                continue;
            }
            if !to_head && !matches!(response.status, 204 | 304) {
                response.body = response.read_body(stream)?;
            }
            return Ok(response);
        }
    }

    fn read_body(&self, stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.all("transfer-encoding").any(|value| value.eq_ignore_ascii_case("chunked")) {
            while let size @ 1.. = chunk_size(&line(stream)?)? {
                read_exactly(stream, size, &mut body)?;
                line(stream)?;
            }
            while !line(stream)?.is_empty() {}
        } else if let Some(length) = self.number("content-length") {
            read_exactly(stream, length, &mut body)?;
        } else {
            stream.read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

fn head(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the connection ended before an answer",
            ));
        }
    }
    Ok(head)
}

fn parse(head: &[u8]) -> io::Result<Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut headers);
    parsed.parse(head).map_err(io::Error::other)?;
    let text = |value: &[u8]| value.iter().map(|&byte| char::from(byte)).collect();
    Ok(Response {
        status: parsed.code.unwrap_or_default(),
        headers: parsed.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect(),
        body: Vec::new(),
    })
}

fn read_exactly(stream: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length).read_to_end(body)?;
    if u64::try_from(read) == Ok(length) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a body"))
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    Ok(line.trim_end().into())
}

fn chunk_size(line: &str) -> io::Result<u64> {
    let digits = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(digits, 16).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> io::Result<Response> {
        Response::read(&mut bytes.as_bytes(), false)
    }

    #[test]
    fn a_body_is_as_long_as_its_length_says() {
        let response = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").unwrap();
        assert_eq!((response.status, response.text()), (200, "ab".into()));
    }

    #[test]
    fn chunks_are_put_together() {
        let response =
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n");
        assert_eq!(response.unwrap().text(), "abc");
    }

    #[test]
    fn a_cut_off_body_is_an_error() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab").is_err());
        assert!(read("HTTP/1.1 200 OK\r\n").is_err());
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let response = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n").unwrap();
        assert_eq!(response.status, 204);
    }

    #[test]
    #[should_panic(expected = "a second x-a")]
    fn a_header_that_is_there_twice_is_no_single_value() {
        let _ = read("HTTP/1.1 204 No Content\r\nX-A: 1\r\nx-a: 2\r\n\r\n").unwrap().header("x-a");
    }
}
