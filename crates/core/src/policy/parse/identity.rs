//! Reads who is calling: the sources, and the consumers with a tier of their own.

use hashbrown::HashMap;
use serde_json::Value;

use super::Checker;
use super::tier::{MAX_TIERS, NAME};
use super::value::{Word, shown, visible};
use crate::client::Namespace;
use crate::name;
use crate::policy::place::Place;
use crate::policy::raw::{self, List};
use crate::policy::{Identity, Source, TierId};
use crate::tier::Tier;

/// The most sources of consumer or tier; each may cost a host call per request.
const MAX_SOURCES: usize = 8;

const HEADER: Word = Word {
    name: "a header's name",
    longest: 128,
    first: is_token,
    rest: is_token,
    advice: "one like x-consumer-username: letters, digits and -, 128 at most",
};

const PROPERTY: Word = Word {
    name: "a property",
    longest: 512,
    first: visible,
    rest: visible,
    advice: "its names with dots between them, like kong.ctx.shared.tollgate_consumer",
};

const CONSUMER: Word = Word {
    name: "a consumer's name",
    longest: 256,
    first: |byte| !byte.is_ascii_control(),
    rest: |byte| !byte.is_ascii_control(),
    advice: "it as the gateway says it: 1 to 256 bytes, no control characters",
};

const CONSUMER_TEXT: &str = "it as usage listings do: what begins with %: is %: and percent-encoded bytes, as in %:caf%E9; a \
                             name that begins so itself is written %:%25:…";

/// Whether a token may contain this byte (RFC 9110, 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

impl Checker {
    /// Reads the sources of consumer and tier.
    pub fn identity(&mut self, identity: &raw::Identity) -> Identity {
        let place = Place::Root.field("identity");
        let default = |property: &[&str], header: &str| {
            let property = property.iter().map(|&name| name.to_owned()).collect();
            vec![Source::Property(property), Source::Header(header.to_owned())]
        };
        let consumer = match &identity.consumer {
            Some(list) => self.sources(&place.field("consumer"), list),
            None => default(&["kong", "ctx", "shared", "tollgate_consumer"], "x-consumer-username"),
        };
        let tier = match &identity.tier {
            Some(list) => self.sources(&place.field("tier"), list),
            None => default(&["kong", "ctx", "shared", "tollgate_tier"], "x-consumer-groups"),
        };
        Identity { consumer, tier }
    }

    fn sources(&mut self, place: &Place<'_>, List(list): &List<raw::Source>) -> Vec<Source> {
        if list.len() > MAX_SOURCES {
            self.add(place, format!("there are {} sources; at most {MAX_SOURCES} are allowed", list.len()));
        }
        list.iter()
            .enumerate()
            .filter_map(|(index, source)| self.source(&place.entry(index), source))
            .collect()
    }

    fn source(&mut self, place: &Place<'_>, source: &raw::Source) -> Option<Source> {
        match (&source.property.0, &source.header.0) {
            (Some(property), None) => self.property(&place.field("property"), property),
            (None, Some(header)) => self.header(&place.field("header"), header),
            (Some(_), Some(_)) => {
                let message =
                    "is both a property and a header; write two entries, the one to ask first above";
                self.add(place, message.to_owned());
                None
            }
            (None, None) => {
                self.add(place, "is empty; write { header: NAME } or { property: a.b.c }".to_owned());
                None
            }
        }
    }

    fn property(&mut self, place: &Place<'_>, value: &Value) -> Option<Source> {
        let text = self.word(place, value, &PROPERTY)?;
        if text.split('.').any(str::is_empty) {
            self.not(place, value, PROPERTY.name, PROPERTY.advice);
            return None;
        }
        Some(Source::Property(text.split('.').map(str::to_owned).collect()))
    }

    fn header(&mut self, place: &Place<'_>, value: &Value) -> Option<Source> {
        if value.as_str().is_some_and(|text| text.starts_with(':')) {
            let message = format!(
                "{} is not a header but a part of the request line, which the client writes; write a header that \
                 the gateway sets",
                shown(value)
            );
            self.add(place, message);
            return None;
        }
        self.word(place, value, &HEADER).map(|name| Source::Header(name.to_ascii_lowercase()))
    }

    /// The tier that `value` names.
    pub fn tier_called(&mut self, place: &Place<'_>, value: &Value, tiers: &[Tier]) -> Option<TierId> {
        let found = value.as_str().and_then(|name| tiers.iter().position(|tier| tier.name == name));
        if found.is_none() {
            let names: Vec<&str> =
                tiers.iter().map(|tier| tier.name.as_str()).filter(|name| NAME.is(name)).collect();
            self.add(place, format!("{} is not a tier; write one of {}", shown(value), names.join(", ")));
        }
        found.map(TierId)
    }

    /// Reads the consumers whose tier the policy names.
    pub fn overrides(&mut self, List(list): &List<raw::Override>, tiers: &[Tier]) -> HashMap<String, TierId> {
        let all = Place::Root.field("overrides");
        let mut first: HashMap<&str, usize> = HashMap::new();
        let mut overrides = HashMap::new();
        if tiers.len() > MAX_TIERS {
            // The list is refused already, and each override would search all tiers.
            return overrides;
        }
        for (index, entry) in list.iter().enumerate() {
            let place = all.entry(index);
            let tier = self.tier_called(&place.field("tier"), &entry.tier, tiers);
            let Some(name) = self.word(&place.field("consumer"), &entry.consumer, &CONSUMER) else {
                continue;
            };
            if name::read(name, &Namespace::new("")).is_none() {
                self.not(&place.field("consumer"), &entry.consumer, CONSUMER.name, CONSUMER_TEXT);
                continue;
            }
            if let Some(before) = first.get(name) {
                let message = format!(
                    "{} has a tier already, in overrides[{before}]; keep one of them",
                    shown(&entry.consumer)
                );
                self.add(&place.field("consumer"), message);
                continue;
            }
            first.insert(name, index);
            if let Some(tier) = tier {
                overrides.insert(name.to_owned(), tier);
            }
        }
        overrides
    }
}
