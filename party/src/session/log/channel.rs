//! The engine's channel and notary with a log beside them.

use tally_mpc::{Channel, ChannelError, Label, Neighbour, Notary, Role, Statement};

use super::entry::Way;
use super::{LogError, Recorder};
use crate::session::fate::{Fate, Loss};

/// A channel that enters what arrives into a log. When the log fails, so does the session, by nobody else's fault.
pub(crate) struct Recorded<'a> {
    inner: &'a mut dyn Channel,
    log: &'a Recorder,
    fate: Fate,
}

impl<'a> Recorded<'a> {
    /// `inner`, logged.
    pub(crate) fn new(inner: &'a mut dyn Channel, log: &'a Recorder, fate: Fate) -> Self {
        Self { inner, log, fate }
    }

    fn entered(&self, entered: Result<(), LogError>) -> Result<(), ChannelError> {
        entered.map_err(|error| {
            self.fate.decide(None, Loss::Log(error));
            ChannelError::Interrupted
        })
    }

    fn failed(&self, way: Way, with: Neighbour, label: Label, error: ChannelError) -> ChannelError {
        match self.entered(self.log.failed(way, with, label, &error)) {
            Ok(()) => error,
            Err(interrupted) => interrupted,
        }
    }
}

impl Channel for Recorded<'_> {
    fn separate(&mut self) {
        self.inner.separate();
    }

    fn send(&mut self, to: Neighbour, label: Label, message: Vec<u8>) -> Result<(), ChannelError> {
        self.inner
            .send(to, label, message)
            .map_err(|error| self.failed(Way::Sending, to, label, error))
    }

    fn recv(&mut self, from: Neighbour, label: Label, expected_len: usize) -> Result<Vec<u8>, ChannelError> {
        match self.inner.recv(from, label, expected_len) {
            Ok(message) => {
                self.entered(self.log.received(from, label, &message))?;
                Ok(message)
            }
            Err(error) => Err(self.failed(Way::Receiving, from, label, error)),
        }
    }
}

/// A notary that enters what it signs into a log, the party's last statement included.
pub(crate) struct RecordedNotary<'a, N> {
    inner: &'a mut N,
    log: &'a Recorder,
}

impl<'a, N> RecordedNotary<'a, N> {
    /// `inner`, logged.
    pub(crate) fn new(inner: &'a mut N, log: &'a Recorder) -> Self {
        Self { inner, log }
    }
}

impl<N: Notary> Notary for RecordedNotary<'_, N> {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        let signature = self.inner.sign(statement);
        // A log that fails here fails the next message, too, and with it the session.
        let _ = self.log.stated(statement, &signature);
        signature
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        self.inner.verify(signer, statement, signature)
    }

    fn ended(&mut self, last: &Statement) {
        let statement = last.to_bytes();
        let signature = self.inner.sign(&statement);
        // The end of the log fails likewise, which is what its `finish` says.
        let _ = self.log.stated(&statement, &signature);
    }
}
