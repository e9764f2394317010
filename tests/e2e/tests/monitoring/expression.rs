//! The parts of a PromQL expression that the tests need: its selectors and its thresholds. `promtool` checks that it is valid.
//!
//! Every selector in `monitoring/` has braces, even `up{}`, which tells it from a function without a list of functions.

const WORDS: [&str; 7] = ["and", "or", "unless", "offset", "bool", "inf", "nan"];
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// The start of `text` whose characters fit, and the rest.
fn split(text: &str, is_of_it: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|letter| !is_of_it(letter)).unwrap_or(text.len()))
}

/// The text up to `end`, and the rest; quoted text is skipped.
fn through(text: &str, end: char) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            _ if letter == end && !quoted => return Ok(text.split_at(at + letter.len_utf8())),
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    Err(format!("no {end} in {text}"))
}

/// A piece of an expression.
enum Piece<'a> {
    /// `name{…}` or `{…}`
    Selector(&'a str),
    /// ` > 5`
    Threshold,
    /// Anything else.
    Other(&'a str),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let whole = rest;
        let of = |rest: &str| whole.split_at(whole.len() - rest.len()).0;
        match first {
            '"' => rest = through(&rest[1..], '"')?.1,
            '[' => rest = through(rest, ']')?.1,
            '{' => rest = through(rest, '}')?.1,
            '<' | '>' | '=' | '!' => {
                let (_, number) = split(rest, |letter| "<>=! ".contains(letter));
                let (digits, after) = split(number, |letter| letter.is_ascii_digit() || letter == '.');
                if digits.is_empty() {
                    return Err(format!("a comparison with no number in {text}"));
                }
                rest = after;
                pieces.push(Piece::Threshold);
                continue;
            }
            _ if first.is_ascii_digit() => {
                rest = split(rest, |letter| letter.is_ascii_alphanumeric() || letter == '.').1;
            }
            _ if first.is_ascii_alphabetic() || first == '_' || first == ':' => {
                let (name, after) =
                    split(rest, |letter| letter.is_ascii_alphanumeric() || "_:".contains(letter));
                let next = after.trim_start();
                rest = after;
                if after.starts_with('{') {
                    rest = through(after, '}')?.1;
                } else if BEFORE_LABELS.contains(&name) && next.starts_with('(') {
                    rest = through(next, ')')?.1;
                } else {
                    let is_function =
                        next.starts_with('(') || next.starts_with("by ") || next.starts_with("without ");
                    if !is_function && !WORDS.contains(&name) {
                        return Err(format!(
                            "{name} in {text}: write {name}{{}}, so that it is seen for a selector"
                        ));
                    }
                }
            }
            _ => rest = &rest[first.len_utf8()..],
        }
        let piece = of(rest);
        pieces.push(if piece.ends_with('}') { Piece::Selector(piece) } else { Piece::Other(piece) });
    }
    Ok(pieces)
}

/// Its selectors, without ranges.
pub fn selectors(text: &str) -> Result<Vec<String>, String> {
    let pieces = pieces(text)?;
    Ok(pieces
        .iter()
        .filter_map(|piece| if let Piece::Selector(it) = piece { Some((*it).to_owned()) } else { None })
        .collect())
}

/// The expression without its thresholds.
pub fn without_thresholds(text: &str) -> Result<String, String> {
    let kept = |piece: Piece<'_>| match piece {
        Piece::Threshold => String::new(),
        Piece::Selector(it) | Piece::Other(it) => it.to_owned(),
    };
    Ok(pieces(text)?.into_iter().map(kept).collect())
}

#[test]
fn selectors_are_found_wherever_they_stand() {
    let of = |text| selectors(text).unwrap();
    assert_eq!(of("up{} == 0 or absent(up{job=~\"a|b\"})"), ["up{}", "up{job=~\"a|b\"}"]);
    assert_eq!(
        of("sum by (le, job) (rate({__name__=~\"(pw_)?x\"}[5m])) / on (job) b:c{d=\"}\"}"),
        ["{__name__=~\"(pw_)?x\"}", "b:c{d=\"}\"}"]
    );
    assert_eq!(of("histogram_quantile(0.95, sum(rate(x_bucket{}[5m])) by (le))"), ["x_bucket{}"]);
    assert_eq!(of("label_replace(x{}, \"a\", \"$1\", \"b\", \"up\")"), ["x{}"]);
}

#[test]
fn a_selector_without_braces_is_not_overlooked() {
    for text in ["up == 0", "sum(up)", "sum by (job) (rate(up[5m]))", "a{} / up"] {
        assert!(selectors(text).unwrap_err().contains("write up{}"), "{text}");
    }
}

#[test]
fn thresholds_are_taken_off_and_labels_kept() {
    let of = |text| without_thresholds(text).unwrap();
    assert_eq!(of("up{job=\"a\"} == 0"), "up{job=\"a\"} ");
    assert_eq!(of("a{b!=\"c\"} > 0.05 and d{} >= 500"), "a{b!=\"c\"}  and d{} ");
    assert!(without_thresholds("a{} > b{}").is_err());
}
