//! Object identifiers, as the content octets of their DER encoding.

use std::fmt;
use std::str::FromStr;

/// Longest in content octets.
const MAX_BYTES: usize = 64;

/// Not an object identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no object identifier: numbers with points between, as 2.5.4.5")]
pub struct BadObjectId(String);

/// An object identifier.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Vec<u8>);

impl ObjectId {
    /// From content octets.
    ///
    /// # Errors
    /// [`BadObjectId`]: empty, long, or not in the shortest form.
    pub fn from_octets(octets: &[u8]) -> Result<Self, BadObjectId> {
        let id = Self(octets.to_vec());
        match id.arcs() {
            Some(arcs) if octets.len() <= MAX_BYTES && of_arcs(&arcs).as_deref() == Some(octets) => Ok(id),
            _ => Err(BadObjectId(
                data_encoding::HEXLOWER.encode(octets.get(..MAX_BYTES).unwrap_or(octets)),
            )),
        }
    }

    /// Content octets.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    fn arcs(&self) -> Option<Vec<u64>> {
        let mut arcs = Vec::new();
        let mut value: u64 = 0;
        for (at, octet) in self.0.iter().enumerate() {
            value = value.checked_mul(128)?.checked_add(u64::from(octet & 0x7f))?;
            if octet & 0x80 != 0 {
                if at + 1 == self.0.len() {
                    return None;
                }
                continue;
            }
            if arcs.is_empty() {
                let first = (value / 40).min(2);
                arcs.extend([first, value - 40 * first]);
            } else {
                arcs.push(value);
            }
            value = 0;
        }
        (arcs.len() >= 2).then_some(arcs)
    }
}

fn of_arcs(arcs: &[u64]) -> Option<Vec<u8>> {
    let (&first, rest) = arcs.split_first()?;
    let (&second, rest) = rest.split_first()?;
    if first > 2 || (first < 2 && second >= 40) {
        return None;
    }
    let joined = (first * 40).checked_add(second)?;
    let mut octets = Vec::new();
    for &arc in [joined].iter().chain(rest) {
        let mut reversed = vec![(arc & 0x7f) as u8];
        let mut left = arc >> 7;
        while left > 0 {
            reversed.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        octets.extend(reversed.iter().rev());
    }
    Some(octets)
}

impl FromStr for ObjectId {
    type Err = BadObjectId;
    fn from_str(text: &str) -> Result<Self, BadObjectId> {
        let bad = || BadObjectId(text.chars().take(80).collect());
        let arcs: Option<Vec<u64>> = text.split('.').map(|arc| arc.parse().ok()).collect();
        let octets = arcs.and_then(|arcs| of_arcs(&arcs)).ok_or_else(bad)?;
        let id = Self::from_octets(&octets).map_err(|_| bad())?;
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arcs = self.arcs().unwrap_or_default();
        for (at, arc) in arcs.iter().enumerate() {
            write!(f, "{}{arc}", if at == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dotted_and_octets_are_the_same() {
        let known: [(&str, &[u8]); 4] = [
            ("2.5.4.5", &[0x55, 4, 5]),
            ("1.3.6.1.5.5.7.3.2", &[0x2b, 6, 1, 5, 5, 7, 3, 2]),
            (
                "1.3.6.1.4.1.311.20.2.3",
                &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3],
            ),
            ("2.999.1", &[0x88, 0x37, 1]),
        ];
        for (dotted, octets) in known {
            let id: ObjectId = dotted.parse().expect("an identifier");
            assert_eq!(id.octets(), octets);
            assert_eq!(ObjectId::from_octets(octets), Ok(id.clone()));
            assert_eq!(id.to_string(), dotted);
        }
        for bad in [
            "",
            "2",
            "1.40",
            "3.1",
            "2.5.x",
            "2.05.4",
            "1.2.",
            "2.5.4.99999999999999999999",
        ] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
        for bad in [&[][..], &[0x80, 1], &[0x55, 0x80], &[0x55, 0x80, 1], &[0xff; 12]] {
            assert!(ObjectId::from_octets(bad).is_err(), "{bad:?}");
        }
    }
}
