//! Addresses.

use std::fmt;

use super::IdentityError;

/// An address of the form `https://host:port`.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Address {
    text: String,
    host: String,
    port: u16,
}

impl Address {
    /// Checks `text`, which stands in the field named `field`.
    ///
    /// # Errors
    /// [`IdentityError::Address`].
    pub fn new(field: &'static str, text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::Address {
            field,
            value: text.chars().take(80).collect(),
        };
        let rest = text
            .strip_prefix("https://")
            .filter(|_| text.len() <= 300)
            .ok_or_else(bad)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let ok = match inner {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
            }
        };
        let number: u16 = port.parse().map_err(|_| bad())?;
        if !ok || number == 0 || number.to_string() != port {
            return Err(bad());
        }
        Ok(Self {
            text: text.into(),
            host: inner.unwrap_or(host).into(),
            port: number,
        })
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
