//! The grant `keyvalue`: `wasi:keyvalue` on a database of the service's own.
//!
//! As for `storage`, the read set of a read becomes part of the response's read set, and all other calls make the response
//! uncacheable.

use std::sync::Arc;

use storage::StorageError;
use storage::keyvalue::{KeyValue, Page, Read, is_bucket};
use wasmtime::component::{HasSelf, Linker, Resource};

use super::Guest;
use super::bindings::keyvalue::{atomics, batch, store};
use super::interface::Interface;
use super::storage::{OutcomeUnknown, note_failure};

pub(super) const INTERFACE: Interface =
    Interface { name: "keyvalue", link, unavailable: "`describe` cannot use `keyvalue`" };

/// The interfaces that the grant links, in the version that wasmCloud and wasmtime use. Names of prereleases match exactly.
pub(super) const IMPORTS: [&str; 3] =
    ["wasi:keyvalue/store@0.2.0-draft", "wasi:keyvalue/atomics@0.2.0-draft", "wasi:keyvalue/batch@0.2.0-draft"];

/// The bucket that an empty name opens. Components for `wasmtime serve` open the empty name, those for Spin open `default`.
const DEFAULT_BUCKET: &str = "default";

/// A bucket that a guest has open.
pub struct OpenBucket(Arc<str>);

fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    store::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    atomics::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    batch::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

type Bucket = Resource<OpenBucket>;

type Answer<T> = wasmtime::Result<Result<T, store::Error>>;

impl Guest {
    /// The entries, and the name of the bucket.
    fn bucket(&self, bucket: &Bucket) -> wasmtime::Result<(Arc<KeyValue>, Arc<str>)> {
        let entries = INTERFACE.require(self.grants.keyvalue.as_ref())?;
        Ok((entries.clone(), self.table.get(bucket)?.0.clone()))
    }

    /// The result of a read. Its read set becomes part of the response's.
    fn answer_read<T>(&mut self, read: Read<T>) -> Answer<T> {
        match read {
            Ok((value, read_set)) => {
                self.extend_read_set(read_set);
                Ok(Ok(value))
            }
            Err(error) => self.answer_write(Err(error)),
        }
    }

    fn answer_write<T>(&mut self, written: Result<T, StorageError>) -> Answer<T> {
        let failure = &self.mark_uncacheable().failure;
        let error = match written {
            Ok(written) => return Ok(Ok(written)),
            Err(error) => error,
        };
        note_failure(&error, failure);
        Ok(Err(store::Error::Other(match error {
            // The cause is for the host's log.
            StorageError::Unavailable(_) => "the database is unavailable".to_owned(),
            StorageError::OutcomeUnknown(cause) => return Err(OutcomeUnknown(cause).into()),
            error => error.to_string(),
        })))
    }
}

impl store::Host for Guest {
    async fn open(&mut self, mut identifier: String) -> Answer<Bucket> {
        if identifier.is_empty() {
            DEFAULT_BUCKET.clone_into(&mut identifier);
        }
        if !is_bucket(&identifier) {
            return Ok(Err(store::Error::NoSuchStore));
        }
        Ok(Ok(self.table.push(OpenBucket(identifier.into()))?))
    }
}

impl store::HostBucket for Guest {
    async fn get(&mut self, bucket: Bucket, key: String) -> Answer<Option<Vec<u8>>> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let read = entries.get(&bucket, &key).await;
        self.answer_read(read)
    }

    async fn set(&mut self, bucket: Bucket, key: String, value: Vec<u8>) -> Answer<()> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let written = entries.set(&bucket, &key, value).await;
        self.answer_write(written)
    }

    async fn delete(&mut self, bucket: Bucket, key: String) -> Answer<()> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let written = entries.delete(&bucket, &key).await;
        self.answer_write(written)
    }

    async fn exists(&mut self, bucket: Bucket, key: String) -> Answer<bool> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let read = entries.exists(&bucket, &key).await;
        self.answer_read(read)
    }

    async fn list_keys(&mut self, bucket: Bucket, cursor: Option<u64>) -> Answer<store::KeyResponse> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let read = entries.list(&bucket, cursor).await;
        let page = self.answer_read(read)?;
        Ok(page.map(|Page { keys, cursor }| store::KeyResponse { keys, cursor }))
    }

    async fn drop(&mut self, bucket: Bucket) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    async fn increment(&mut self, bucket: Bucket, key: String, delta: u64) -> Answer<u64> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let written = entries.increment(&bucket, &key, delta).await;
        self.answer_write(written)
    }
}

impl batch::Host for Guest {
    async fn get_many(&mut self, bucket: Bucket, keys: Vec<String>) -> Answer<Vec<Option<(String, Vec<u8>)>>> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let read = entries.get_many(&bucket, &keys).await;
        let values = self.answer_read(read)?;
        let pair = |(key, value): (String, Option<_>)| value.map(|value| (key, value));
        Ok(values.map(|values| keys.into_iter().zip(values).map(pair).collect()))
    }

    async fn set_many(&mut self, bucket: Bucket, key_values: Vec<(String, Vec<u8>)>) -> Answer<()> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let written = entries.set_many(&bucket, key_values).await;
        self.answer_write(written)
    }

    async fn delete_many(&mut self, bucket: Bucket, keys: Vec<String>) -> Answer<()> {
        let (entries, bucket) = self.bucket(&bucket)?;
        let written = entries.delete_many(&bucket, &keys).await;
        self.answer_write(written)
    }
}
