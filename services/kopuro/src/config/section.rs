//! Reading a table key by key. What is wrong is noted at its place and reading goes on, so that no fault hides another.

use std::cell::{Ref, RefCell};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kopuro_core::id::MemberId;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::files::{Kind, NamedFile};

/// What is noted of a configuration while it is read.
#[derive(Debug, Default)]
pub(super) struct Notes {
    faults: RefCell<Vec<String>>,
    files: RefCell<Vec<NamedFile>>,
    listeners: RefCell<Vec<Listed<SocketAddr>>>,
    members: RefCell<Vec<Listed<MemberId>>>,
}

/// A value that must agree with others, with its place.
#[derive(Clone, Debug)]
pub(super) struct Listed<T> {
    pub(super) place: String,
    pub(super) value: T,
}

impl Notes {
    pub(super) fn fault(&self, place: &str, fault: impl Display) {
        self.faults.borrow_mut().push(format!("{place}: {}", fault.to_string().trim_end()));
    }

    /// The files that were named.
    pub(super) fn files(&self) -> Ref<'_, [NamedFile]> {
        Ref::map(self.files.borrow(), Vec::as_slice)
    }

    /// The addresses that are listened on.
    pub(super) fn listeners(&self) -> Ref<'_, [Listed<SocketAddr>]> {
        Ref::map(self.listeners.borrow(), Vec::as_slice)
    }

    /// The members that gateways speak for.
    pub(super) fn members(&self) -> Ref<'_, [Listed<MemberId>]> {
        Ref::map(self.members.borrow(), Vec::as_slice)
    }

    /// The faults.
    pub(super) fn into_faults(self) -> Vec<String> {
        self.faults.into_inner()
    }
}

/// A table of the configuration. Each key is taken out as it is read; what is left is unknown.
pub(super) struct Section<'a> {
    table: Table,
    place: String,
    folder: &'a Path,
    notes: &'a Notes,
}

impl<'a> Section<'a> {
    /// Reads the whole file by `read`. Paths in it are relative to `folder`.
    pub(super) fn root<T>(
        table: Table,
        folder: &'a Path,
        notes: &'a Notes,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        Self { table, place: String::new(), folder, notes }.read_by(read)
    }

    fn read_by<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let done = read(&mut self);
        for key in self.table.keys() {
            self.fault(key, "unknown key");
        }
        done
    }

    /// A value that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        self.must_have(key);
        self.optional(key)
    }

    fn must_have(&self, key: &str) {
        if !self.table.contains_key(key) {
            self.fault(key, "it is missing");
        }
    }

    /// A value that may be left out.
    pub(super) fn optional<T: DeserializeOwned>(&mut self, key: &str) -> Option<T> {
        let value = T::deserialize(self.table.remove(key)?);
        value.map_err(|error| self.fault(key, error)).ok()
    }

    /// A value that may be left out, in the place of its default.
    pub(super) fn replace<T: DeserializeOwned>(&mut self, key: &str, value: &mut T) {
        if let Some(given) = self.optional(key) {
            *value = given;
        }
    }

    /// A text that must be there and that `check` takes.
    pub(super) fn text<T, E: Display>(
        &mut self,
        key: &str,
        check: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<String> {
        let text: String = self.required(key)?;
        if let Err(error) = check(&text) {
            self.fault(key, error);
        }
        Some(text)
    }

    /// A member that must be named.
    pub(super) fn member(&mut self, key: &str) -> Option<String> {
        let text = self.text(key, MemberId::parse)?;
        if let Ok(value) = MemberId::parse(&text) {
            self.notes.members.borrow_mut().push(Listed { place: self.place_of(key), value });
        }
        Some(text)
    }

    /// An address to listen on, which may be left out.
    pub(super) fn optional_listener(&mut self, key: &str) -> Option<SocketAddr> {
        let value = self.optional(key)?;
        self.notes.listeners.borrow_mut().push(Listed { place: self.place_of(key), value });
        Some(value)
    }

    /// An address to listen on.
    pub(super) fn listener(&mut self, key: &str) -> Option<SocketAddr> {
        self.must_have(key);
        self.optional_listener(key)
    }

    /// The path of a file that must be named.
    pub(super) fn file(&mut self, key: &str, kind: Kind) -> Option<PathBuf> {
        let path: PathBuf = self.required(key)?;
        Some(self.named(key, &path, kind))
    }

    /// The path of a file that may be named.
    pub(super) fn optional_file(&mut self, key: &str, kind: Kind) -> Option<PathBuf> {
        let path: PathBuf = self.optional(key)?;
        Some(self.named(key, &path, kind))
    }

    /// The paths of files of a kind, of which there must be one at least.
    pub(super) fn file_list(&mut self, key: &str, kind: &Kind) -> Option<Vec<PathBuf>> {
        let paths: Vec<PathBuf> = self.required(key)?;
        if paths.is_empty() {
            self.fault(key, "at least one must be named");
        }
        let named = paths.iter().enumerate();
        Some(named.map(|(at, path)| self.named(&format!("{key}[{at}]"), path, kind.clone())).collect())
    }

    fn named(&self, key: &str, path: &Path, kind: Kind) -> PathBuf {
        let (place, path) = (self.place_of(key), self.folder.join(path));
        self.notes.files.borrow_mut().push(NamedFile { place, path: path.clone(), kind });
        path
    }

    /// A table within this one, if it is there, read by `read`; one that could not be read is `None` within.
    pub(super) fn section<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Section<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        let value = self.table.remove(key)?;
        Some(self.table_at(key, value).and_then(|section| section.read_by(read)))
    }

    /// An array of tables within this one, each read by `read`; one that could not be read is `None`.
    pub(super) fn sections<T>(
        &mut self,
        key: &str,
        mut read: impl FnMut(&mut Section<'a>) -> Option<T>,
    ) -> Vec<Option<T>> {
        let values = match self.table.remove(key) {
            Some(Value::Array(values)) => values,
            Some(_) => {
                self.fault(key, format!("it is written [[{}]]", self.place_of(key)));
                return vec![None];
            }
            None => return Vec::new(),
        };
        let each = values.into_iter().enumerate();
        let read = each.map(|(at, value)| {
            self.table_at(&format!("{key}[{at}]"), value).and_then(|section| section.read_by(&mut read))
        });
        read.collect()
    }

    fn table_at(&self, key: &str, value: Value) -> Option<Section<'a>> {
        match value {
            Value::Table(table) => {
                let place = self.place_of(key);
                Some(Section { table, place, folder: self.folder, notes: self.notes })
            }
            _ => {
                self.fault(key, "it is not a table");
                None
            }
        }
    }

    /// Notes a fault of a key.
    pub(super) fn fault(&self, key: &str, fault: impl Display) {
        self.notes.fault(&self.place_of(key), fault);
    }

    /// Notes a fault of the table.
    pub(super) fn fault_here(&self, fault: impl Display) {
        self.notes.fault(&self.place, fault);
    }

    fn place_of(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }
}
