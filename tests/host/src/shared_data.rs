//! Shared data, by both hosts' rules.
//!
//! | | Kong | Envoy |
//! | --- | --- | --- |
//! | an entry is found by | its key's CRC32 alone | its key |
//! | set with cas 0 (`None`) | creates; fails if the entry exists | overwrites |
//! | set of an absent key with any other cas | fails | creates |
//! | cas numbers | count up per entry, from 1 again after a delete | come from one counter for all entries |
//! | a null value | deletes the entry | leaves an empty entry |
//! | when it is full | evicts the least recently used entry, size class by size class, or traps | is never full |

use std::collections::HashMap;

use wasmtime::{Caller, Linker};

use crate::abi::{Answer, Guest, Status, host_call};
use crate::rules::{Rule, RuleBroken};
use crate::world::World;
use crate::zone::Zone;

/// A node's shared data.
#[derive(Debug)]
pub struct SharedData {
    store: Store,
    tears: u32,
    losses: u32,
}

#[derive(Debug)]
enum Store {
    Kong(Vec<Zone>),
    Envoy { entries: HashMap<Vec<u8>, Entry>, last_cas: u32 },
}

/// One entry.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// What it holds.
    pub value: Vec<u8>,
    /// The value before that one: a torn read mixes it in (Kong).
    pub before: Option<Vec<u8>>,
    /// Its version.
    pub cas: u32,
    /// Whether it was created with cas 0 (Envoy): nobody knows what that overwrote.
    pub blind: bool,
}

/// The outcome of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// There was no entry.
    Created,
    /// The entry had the given cas, or the same value.
    Updated,
    /// The set did not ask for the cas of an entry that had another value, or the entry was created without asking and is no
    /// constant (Envoy).
    Overwrote,
    /// The entry had another cas or was absent.
    Mismatch,
}

impl SharedData {
    /// Envoy's shared data: one map.
    #[must_use]
    pub fn envoy() -> Self {
        Self { store: Store::Envoy { entries: HashMap::new(), last_cas: 0 }, tears: 0, losses: 0 }
    }

    /// Kong's shared data: these zones.
    #[must_use]
    pub fn kong(zones: Vec<Zone>) -> Self {
        Self { store: Store::Kong(zones), tears: 0, losses: 0 }
    }

    /// Kong: makes the next `count` reads of entries that were written twice return half the old and half the new value, with
    /// the old cas. Another worker wrote while the host copied, which it does after it has unlocked.
    pub fn tear_next_reads(&mut self, count: u32) {
        self.tears = count;
    }

    /// Makes the next `count` writes find that another worker has just written the same entry.
    pub fn lose_next_writes(&mut self, count: u32) {
        self.losses = count;
    }

    /// How many of the tears and losses asked for have not happened yet.
    #[must_use]
    pub fn still_to_come(&self) -> u32 {
        self.tears + self.losses
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.store {
            Store::Kong(zones) => zones.iter().map(Zone::len).sum(),
            Store::Envoy { entries, .. } => entries.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many live entries the zones have dropped for lack of room. Envoy never drops any.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        match &self.store {
            Store::Kong(zones) => zones.iter().map(Zone::evicted).sum(),
            Store::Envoy { .. } => 0,
        }
    }

    /// Every entry's bytes, in no order, for tests that spoil them.
    pub fn values_mut(&mut self) -> Vec<&mut Vec<u8>> {
        match &mut self.store {
            Store::Kong(zones) => zones.iter_mut().flat_map(Zone::values_mut).collect(),
            Store::Envoy { entries, .. } => entries.values_mut().map(|entry| &mut entry.value).collect(),
        }
    }

    /// The value and the cas of `key`.
    ///
    /// # Errors
    /// Kong: [`Rule::NoZone`].
    pub fn get(&mut self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, RuleBroken> {
        let entry = match &mut self.store {
            Store::Kong(zones) => zone_of(zones, key)?.get(key),
            // Copied under the lock, it is never torn.
            Store::Envoy { entries, .. } => {
                return Ok(entries.get(key).map(|entry| (entry.value.clone(), entry.cas)));
            }
        };
        let Some(entry) = entry else { return Ok(None) };
        if let Some(before) = entry.before.as_ref().filter(|_| self.tears > 0) {
            self.tears -= 1;
            let half = entry.value.len() / 2;
            let mut torn = entry.value[..half].to_vec();
            torn.extend_from_slice(before.get(half..).unwrap_or_default());
            return Ok(Some((torn, entry.cas.wrapping_sub(1).max(1))));
        }
        Ok(Some((entry.value.clone(), entry.cas)))
    }

    /// Writes `key` if its cas is as the host wants it; `None` deletes if the host can.
    ///
    /// # Errors
    /// Kong: [`Rule::NoZone`], [`Rule::FullZone`], [`Rule::ValueGrows`].
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>, cas: u32) -> Result<Written, RuleBroken> {
        let lost = self.losses > 0;
        if lost {
            self.losses -= 1;
        }
        match &mut self.store {
            Store::Kong(zones) => {
                let zone = zone_of(zones, key)?;
                if lost && zone.touch(key, value) {
                    return Ok(Written::Mismatch);
                }
                zone.set(key, value, cas)
            }
            Store::Envoy { entries, last_cas } => {
                if lost {
                    *last_cas += 1;
                    let written = || Entry { value: value.unwrap_or_default().to_vec(), ..Entry::default() };
                    entries.entry(key.to_vec()).or_insert_with(written).cas = *last_cas;
                    return Ok(if cas == 0 { Written::Overwrote } else { Written::Mismatch });
                }
                Ok(set_in_envoy(entries, last_cas, key, value.unwrap_or_default(), cas))
            }
        }
    }
}

/// The zone of the key's prefix, or else the zone `*`.
fn zone_of<'a>(zones: &'a mut [Zone], key: &[u8]) -> Result<&'a mut Zone, RuleBroken> {
    let prefix = key.iter().position(|byte| *byte == b'/').map_or(&[][..], |end| &key[..end]);
    let named = zones.iter().position(|zone| !prefix.is_empty() && zone.name().as_bytes() == prefix);
    let place = named.or_else(|| zones.iter().position(|zone| zone.name() == "*"));
    let shown = String::from_utf8_lossy(key).into_owned();
    place.map(|at| &mut zones[at]).ok_or_else(|| {
        RuleBroken::new(Rule::NoZone, format!("used the key {shown:?}, for which there is no zone"))
    })
}

fn set_in_envoy(
    entries: &mut HashMap<Vec<u8>, Entry>,
    last_cas: &mut u32,
    key: &[u8],
    value: &[u8],
    cas: u32,
) -> Written {
    let old = entries.get(key);
    let written = match old {
        Some(entry) if cas == 0 && entry.value != value => Written::Overwrote,
        Some(_) if cas == 0 => Written::Updated,
        Some(entry) if entry.cas != cas => return Written::Mismatch,
        Some(entry) if entry.blind => Written::Overwrote,
        Some(_) => Written::Updated,
        None => Written::Created,
    };
    let blind = old.map_or(cas == 0, |entry| entry.blind);
    *last_cas += 1;
    entries.insert(key.to_vec(), Entry { value: value.to_vec(), before: None, cas: *last_cas, blind });
    written
}

fn get_shared_data(guest: &mut Guest<'_>, key: (u32, u32), value_to: (u32, u32), cas_to: u32) -> Answer {
    let key = guest.bytes(key.0, key.1)?;
    let found = guest.world().common.shared.borrow_mut().get(&key)?;
    let Some((value, cas)) = found else { return Ok(Status::NotFound) };
    guest.give(&value, value_to.0, value_to.1)?;
    guest.write_u32(cas_to, cas)?;
    Ok(Status::Ok)
}

fn set_shared_data(guest: &mut Guest<'_>, key: (u32, u32), value: (u32, u32), cas: u32) -> Answer {
    let key = guest.bytes(key.0, key.1)?;
    let value = guest.optional_bytes(value.0, value.1)?;
    let written = guest.world().common.shared.borrow_mut().set(&key, value.as_deref(), cas)?;
    match written {
        Written::Created | Written::Updated => Ok(Status::Ok),
        Written::Mismatch => Ok(Status::CasMismatch),
        Written::Overwrote => {
            let what = format!("overwrote the key {:?}", String::from_utf8_lossy(&key));
            Err(RuleBroken::new(Rule::Overwrite, what))
        }
    }
}

/// Links the host calls.
pub fn link(linker: &mut Linker<World>) -> wasmtime::Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |caller: Caller<'_, World>, key: u32, key_len: u32, to: u32, len_to: u32, cas_to: u32| {
            host_call(caller, "proxy_get_shared_data", |guest| {
                get_shared_data(guest, (key, key_len), (to, len_to), cas_to)
            })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |caller: Caller<'_, World>, key: u32, key_len: u32, value: u32, value_len: u32, cas: u32| {
            host_call(caller, "proxy_set_shared_data", |guest| {
                set_shared_data(guest, (key, key_len), (value, value_len), cas)
            })
        },
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
