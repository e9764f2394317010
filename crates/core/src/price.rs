//! The policy's price list: one [`Rule`] per line, each with a [`Pattern`] of paths.

use crate::path;
use crate::units::Cost;

/// What a request costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Price {
    /// What is charged when the request comes.
    pub cost: Cost,
    /// Whether the upstream's response may say what it costs in the end.
    pub settles: bool,
}

/// One line of the price list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which paths it matches.
    pub pattern: Pattern,
    /// Which methods it matches, in upper case; all if empty.
    pub methods: Vec<String>,
    /// What one request costs.
    pub price: Price,
}

/// Which paths a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This normalized path alone.
    Exact(String),
    /// This normalized path and all below it; `/` matches every path.
    Prefix(String),
}

/// Why a text is not a [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It does not start with a slash.
    Relative,
    /// A `*` is not the last segment.
    Wildcard,
    /// It has a query or a fragment, which never match.
    Query,
    /// Requests are compared after normalization, so this spelling could never match; the content is the one that does.
    NotNormalised(String),
}

impl Pattern {
    /// Reads `/exact/path` or `/prefix/*`.
    ///
    /// # Errors
    /// [`PatternError`] if no request could match, or only another spelling would.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if !text.starts_with('/') {
            return Err(PatternError::Relative);
        }
        if text.contains(['?', '#']) {
            return Err(PatternError::Query);
        }
        let (stem, is_prefix) = match text.strip_suffix("/*") {
            Some("") => ("/", true),
            Some(stem) => (stem, true),
            None => (text, false),
        };
        if stem.contains('*') {
            return Err(PatternError::Wildcard);
        }
        let normal = path::FILE_SYSTEM.read(stem.as_bytes());
        if normal != stem.as_bytes() {
            let mut spelled = String::from_utf8_lossy(&normal).into_owned();
            if is_prefix {
                spelled = format!("{}/*", spelled.trim_end_matches('/'));
            }
            return Err(PatternError::NotNormalised(spelled));
        }
        Ok(if is_prefix { Self::Prefix(stem.to_owned()) } else { Self::Exact(stem.to_owned()) })
    }

    /// The path itself, without the `/*` of a prefix.
    #[must_use]
    pub const fn stem(&self) -> &String {
        match self {
            Self::Exact(stem) | Self::Prefix(stem) => stem,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_could_never_match_is_refused_with_the_spelling_that_does() {
        assert_eq!(Pattern::parse("compare"), Err(PatternError::Relative));
        assert_eq!(Pattern::parse("/a?b"), Err(PatternError::Query));
        assert_eq!(Pattern::parse("/a/*/b"), Err(PatternError::Wildcard));
        assert_eq!(Pattern::parse("/a*"), Err(PatternError::Wildcard));
        assert_eq!(Pattern::parse("/a//b/"), Err(PatternError::NotNormalised("/a/b".into())));
        assert_eq!(Pattern::parse("/%61/*"), Err(PatternError::NotNormalised("/a/*".into())));
        assert_eq!(Pattern::parse("/*"), Ok(Pattern::Prefix("/".into())));
        assert_eq!(Pattern::parse("/"), Ok(Pattern::Exact("/".into())));
        assert_eq!(Pattern::parse("/v1/*"), Ok(Pattern::Prefix("/v1".into())));
    }
}
