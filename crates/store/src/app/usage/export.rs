//! The usage of all consumers as one document. It is written as it is read, in constant memory.

use std::io;

use axum::body::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::problem::AppError;
use crate::backend::BackendError;

/// The document is sent in parts of about this many bytes.
pub const PART: usize = 16 << 10;

/// The format of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON list of what [`super::one`] answers.
    #[default]
    Json,
    /// The same as a table with a header line (RFC 4180). An unlimited quota is an empty field.
    Csv,
}

impl Format {
    /// The content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }

    /// The extension of its files.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    fn opening<R: Row>(self, part: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Json => part.push(b'['),
            Self::Csv => record(part, R::COLUMNS)?,
        }
        Ok(())
    }

    const fn closing(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n]\n",
            Self::Csv => b"",
        }
    }

    fn row<R: Row>(self, row: &R, is_first: bool, part: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Json => {
                part.extend_from_slice(if is_first { b"\n" } else { b",\n" });
                serde_json::to_writer(part, row)?;
                Ok(())
            }
            Self::Csv => row.records().iter().try_for_each(|fields| record(part, fields)),
        }
    }
}

/// What such a document lists.
pub trait Row: Serialize + Send + 'static {
    /// The header line of the table.
    const COLUMNS: &'static [&'static str];

    /// Its lines of the table.
    fn records(&self) -> Vec<Vec<String>>;
}

/// Writes one line of a table.
fn record(part: &mut Vec<u8>, fields: &[impl AsRef<[u8]>]) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(part);
    writer.write_record(fields)?;
    writer.flush()
}

/// The document, in parts.
///
/// # Errors
/// The backend fails before the first part is whole. If it fails later, the stream ends with the error.
pub async fn document<R: Row>(
    format: Format,
    rows: BoxStream<'static, Result<R, BackendError>>,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, AppError> {
    let mut writer = Writer { format, rows, written: 0, is_closed: false };
    let first = writer.part().await?;
    let rest = stream::unfold(writer, |mut writer| async move {
        let part = writer.part().await.map_err(io::Error::other).transpose()?;
        // Anything after the error would make the document look whole.
        writer.is_closed |= part.is_err();
        Some((part, writer))
    });
    Ok(stream::iter(first.map(Ok)).chain(rest))
}

struct Writer<R> {
    format: Format,
    rows: BoxStream<'static, Result<R, BackendError>>,
    written: u64,
    is_closed: bool,
}

impl<R: Row> Writer<R> {
    /// The next part, or `None` after the last one.
    async fn part(&mut self) -> Result<Option<Bytes>, AppError> {
        let corrupt = |why: io::Error| AppError::corrupt(&format!("a row cannot be written: {why}"));
        if self.is_closed {
            return Ok(None);
        }
        let mut part = Vec::with_capacity(PART.saturating_add(4 << 10));
        if self.written == 0 {
            self.format.opening::<R>(&mut part).map_err(corrupt)?;
        }
        while part.len() < PART {
            let Some(row) = self.rows.next().await.transpose()? else {
                part.extend_from_slice(self.format.closing());
                self.is_closed = true;
                break;
            };
            self.format.row(&row, self.written == 0, &mut part).map_err(corrupt)?;
            self.written = self.written.saturating_add(1);
        }
        Ok(Some(Bytes::from(part)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Usage;
    use super::*;
    use crate::backend;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tollgate_core::client::ClientId;
    use tollgate_core::units::Cost;

    fn usage(name: &str) -> Usage {
        let used = backend::Usage {
            client: ClientId::default(),
            name: Some(name.into()),
            tier: "free".into(),
            monthly: Some(Cost(50_000_000)),
            used: Cost(1_500),
        };
        Usage::listed("n", used, 682)
    }

    async fn text(format: Format, names: &[&str]) -> String {
        let usages: Vec<_> = names.iter().map(|name| Ok(usage(name))).collect();
        let parts = document(format, stream::iter(usages).boxed()).await.unwrap();
        let parts: Vec<Bytes> = parts.map(Result::unwrap).collect().await;
        String::from_utf8(parts.concat()).unwrap()
    }

    #[tokio::test]
    async fn nobody_is_an_empty_list_or_a_table_of_no_lines() {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text(Format::Json, &[]).await).unwrap(),
            serde_json::json!([])
        );
        assert_eq!(text(Format::Csv, &[]).await.lines().count(), 1);
    }

    #[tokio::test]
    async fn a_table_holds_names_that_would_be_formulas_or_would_end_a_line() {
        let names = ["=HYPERLINK(\"x\")", "+1", "-1", "@x", "a,b", "say \"hi\"", "two\nlines", "'"];
        let text = text(Format::Csv, &names).await;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let read: Vec<String> = reader.records().map(|record| record.unwrap()[1].to_owned()).collect();
        assert_eq!(
            read,
            ["'=HYPERLINK(\"x\")", "'+1", "'-1", "'@x", "a,b", "say \"hi\"", "%:two%0Alines", "''"]
        );
        assert!(text.contains("n,\"a,b\",free,2026-11,1.5,50000,49998.5,2026-12-01T00:00:00Z\r\n"), "{text}");
    }

    #[tokio::test]
    async fn a_hundred_thousand_are_written_as_they_are_read() {
        const ALL: usize = 100_000;
        for format in [Format::Json, Format::Csv] {
            let read = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&read);
            let usages = stream::iter(0..ALL).map(move |number| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(usage(&format!("consumer-{number}")))
            });
            let parts = document(format, usages.boxed()).await.unwrap();
            futures_util::pin_mut!(parts);
            let (mut sent, mut lines) = (0, 0);
            while let Some(part) = parts.next().await {
                let part = part.unwrap();
                assert!(part.len() < PART + 1_024, "a part of {}", part.len());
                lines += part.iter().filter(|byte| **byte == b'\n').count();
                // At most one part more is read than was taken.
                let ahead = read.load(Ordering::Relaxed) - sent;
                assert!(ahead <= PART / 40, "{ahead} rows ahead");
                sent = read.load(Ordering::Relaxed);
            }
            assert_eq!(sent, ALL);
            assert_eq!(lines, if format == Format::Json { ALL + 2 } else { ALL + 1 });
        }
    }

    #[tokio::test]
    async fn what_breaks_off_ends_with_an_error_and_never_as_if_it_were_whole() {
        let many = stream::iter(0..1_000).map(|number| Ok(usage(&number.to_string())));
        let broken = many.chain(stream::iter([Err(BackendError::Away("gone".into()))]));
        let parts = document(Format::Json, broken.boxed()).await.unwrap();
        let parts: Vec<_> = parts.collect().await;
        assert!(parts.last().unwrap().is_err());
        assert!(parts[..parts.len() - 1].iter().all(Result::is_ok));

        let at_once = stream::iter([Err(BackendError::Away("gone".into()))]).boxed();
        assert!(document::<Usage>(Format::Json, at_once).await.is_err());
    }
}
