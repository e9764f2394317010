//! Where something is in a policy.

use std::fmt;

/// A place in a document: a chain on the stack, written out only when something is wrong there.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The whole document.
    Root,
    /// A field of the value at the other place.
    Field(&'a Self, &'a str),
    /// An entry, counted from 0, of the list at the other place.
    Entry(&'a Self, usize),
}

impl Place<'_> {
    /// The field `name` of this place.
    pub const fn field<'a>(&'a self, name: &'a str) -> Place<'a> {
        Place::Field(self, name)
    }

    /// The entry `index` of the list at this place.
    pub const fn entry(&self, index: usize) -> Place<'_> {
        Place::Entry(self, index)
    }
}

impl fmt::Display for Place<'_> {
    /// Writes `tiers.pro.rate` or `endpoints[2].path`, and nothing for the document.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => out.write_str(name),
            Self::Field(parent, name) => write!(out, "{parent}.{name}"),
            Self::Entry(parent, index) => write!(out, "{parent}[{index}]"),
        }
    }
}
