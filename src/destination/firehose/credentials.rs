//! Credentials on their way from the SDK's chain to its calls: when they end is noted in passing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_credential_types::provider::future::ProvideCredentials as Provided;
use aws_sdk_firehose::config::{ProvideCredentials, SharedCredentialsProvider};

/// When the credentials end that were found last. Cheap to clone; clones see the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Expiry {
    at: Arc<Mutex<Option<SystemTime>>>,
}

impl Expiry {
    /// `None` where they do not end, or none were found yet.
    pub fn get(&self) -> Option<SystemTime> {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, at: Option<SystemTime>) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }
}

/// A provider that notes when what it provides ends.
#[derive(Debug)]
pub(super) struct Noting {
    /// Where credentials come from.
    pub provider: SharedCredentialsProvider,
    /// Where their end is noted.
    pub expiry: Expiry,
}

impl ProvideCredentials for Noting {
    fn provide_credentials<'a>(&'a self) -> Provided<'a>
    where
        Self: 'a,
    {
        Provided::new(async {
            let found = self.provider.provide_credentials().await;
            if let Ok(credentials) = &found {
                self.expiry.set(credentials.expiry());
            }
            found
        })
    }
}
