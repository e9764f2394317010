//! What is going to happen, in the order of time. Events of the same moment come in a random order.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::random::Random;
use crate::time::TrueTime;

/// See the [module](self).
#[derive(Debug)]
pub struct Queue<E> {
    heap: RefCell<BinaryHeap<Reverse<Entry<E>>>>,
    lots: Random,
}

#[derive(Debug)]
struct Entry<E> {
    at: TrueTime,
    lot: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.lot).cmp(&(other.at, other.lot))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}

impl<E> Queue<E> {
    /// An empty queue.
    #[must_use]
    pub fn new(lots: Random) -> Self {
        Self { heap: RefCell::default(), lots }
    }

    /// Lets `event` happen at `at`.
    pub fn push(&self, at: TrueTime, event: E) {
        self.heap.borrow_mut().push(Reverse(Entry { at, lot: self.lots.number(), event }));
    }

    /// The next event, and its moment.
    pub fn pop(&self) -> Option<(TrueTime, E)> {
        self.heap.borrow_mut().pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}
