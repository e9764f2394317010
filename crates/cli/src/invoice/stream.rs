//! A JSON list, read row by row in constant memory.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::rc::Rc;

use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor,
};

/// The most bytes of a row.
const ROW: u64 = 64 << 10;

/// Calls `each` with every row of the JSON list in `reader`.
///
/// # Errors
/// The text is no such list, breaks off, or has a row of more than 64 KiB; or `each` fails.
pub fn rows<T: DeserializeOwned>(
    reader: impl Read,
    each: impl FnMut(T) -> Result<(), String>,
) -> serde_json::Result<()> {
    let left = Rc::new(Cell::new(ROW));
    let bounded = Bounded { reader: BufReader::new(reader), left: Rc::clone(&left) };
    let mut json = serde_json::Deserializer::from_reader(bounded);
    Rows { each, left, row: PhantomData }.deserialize(&mut json)?;
    json.end()
}

/// One JSON document of at most `most` bytes.
///
/// # Errors
/// The text is no such document, breaks off, or is longer.
pub fn document<T: DeserializeOwned>(reader: impl Read, most: u64) -> serde_json::Result<T> {
    serde_json::from_reader(Bounded { reader: BufReader::new(reader), left: Rc::new(Cell::new(most)) })
}

/// Reads at most what is left; a row that was read makes room again.
struct Bounded<R> {
    reader: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(out.len());
        if room == 0 && !out.is_empty() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than any such answer"));
        }
        let count = self.reader.read(out.get_mut(..room).unwrap_or_default())?;
        self.left.set(self.left.get().saturating_sub(count as u64));
        Ok(count)
    }
}

struct Rows<T, F> {
    each: F,
    left: Rc<Cell<u64>>,
    row: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> DeserializeSeed<'de> for Rows<T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T) -> Result<(), String>> Visitor<'de> for Rows<T, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(row) = list.next_element::<T>()? {
            (self.each)(row).map_err(A::Error::custom)?;
            self.left.set(ROW);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<u32>, String> {
        let mut all = Vec::new();
        let done = rows(text.as_bytes(), |number: u32| {
            all.push(number);
            Ok(())
        });
        done.map(|()| all).map_err(|why| why.to_string())
    }

    #[test]
    fn a_list_is_read_to_its_end_and_no_further() {
        assert_eq!(read("[1, 2,\n3]\n"), Ok(vec![1, 2, 3]));
        assert_eq!(read("[]"), Ok(vec![]));
        for broken in ["", "[1, 2", "[1, 2,", "{}", "[1] 2", "[1, x]", "1"] {
            assert!(read(broken).is_err(), "{broken}");
        }
        let failing = rows(&b"[1]"[..], |_: u32| Err("no".to_owned()));
        assert!(failing.unwrap_err().to_string().starts_with("no"));
    }

    #[test]
    fn a_list_may_be_long_but_no_row() {
        let many = format!("[{}1]", "1,".repeat(200_000));
        assert_eq!(read(&many).map(|all| all.len()), Ok(200_001));
        let long = format!("[1,{}2]", " ".repeat(70_000));
        assert!(read(&long).unwrap_err().contains("longer than any such answer"));
        assert!(document::<u32>(&b"    1"[..], 4).is_err());
        assert_eq!(document::<u32>(&b"1"[..], 4).unwrap(), 1);
    }

    #[test]
    fn rows_are_read_as_they_come() {
        /// Ends with an error that must not be reached before the rows were seen.
        struct Endless(u64);
        impl Read for Endless {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let part: &[u8] = if self.0 == 0 { b"[1" } else { b",1" };
                self.0 += 1;
                out[..part.len()].copy_from_slice(part);
                Ok(part.len())
            }
        }
        let mut seen = 0;
        let done = rows(Endless(0), |_: u32| {
            seen += 1;
            if seen == 100_000 { Err("enough".to_owned()) } else { Ok(()) }
        });
        assert!(done.unwrap_err().to_string().starts_with("enough"));
    }
}
