//! Places for connections: so many in all, and so many of one address, so that one cannot take them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places of a listener, or of several.
#[derive(Debug)]
pub struct Places {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// A place; dropped, it is free again.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    by: IpAddr,
}

impl Places {
    /// So many in all, and so many for one address.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A place, if there is one.
    pub fn take(self: &Arc<Self>, by: IpAddr) -> Option<Place> {
        // An address of IPv4 is the same whichever way it comes in.
        let by = by.to_canonical();
        let mut taken = self.taken();
        let own = taken.by.get(&by).copied().unwrap_or(0);
        if taken.all >= self.all || own >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by.insert(by, own + 1);
        Some(Place { places: self.clone(), by })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        match taken.by.get_mut(&self.by) {
            Some(own) if *own > 1 => *own -= 1,
            _ => _ = taken.by.remove(&self.by),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places() {
        let places = Places::new(3, 2);
        let ip = |n: u8| IpAddr::from([10, 0, 0, n]);
        let own = (places.take(ip(1)).unwrap(), places.take(ip(1)).unwrap());
        assert!(places.take(ip(1)).is_none() && places.take("::ffff:10.0.0.1".parse().unwrap()).is_none());
        let other = places.take(ip(2)).unwrap();
        assert!(places.take(ip(3)).is_none(), "all are taken");
        drop((own.0, other));
        assert!(places.take(ip(1)).is_some());
        drop(own.1);
        assert!(places.taken().by.is_empty() && places.taken().all == 0);
    }
}
