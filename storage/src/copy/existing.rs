//! Whether what has the name of a copy already is the copy.

use std::io::Read as _;

use rustix::fs::OFlags;

use super::{CopyError, CopyItem, FileCheck, Work};
use crate::publish::are_equal;
use crate::{Kind, Operation};

impl<'c> Work<'_, 'c> {
    /// Returns whether the name of the copy stands for a file with the right bytes, whose mode is then corrected.
    pub(super) fn is_equal(&self, index: usize, item: &CopyItem, buffer: &mut [u8]) -> Result<bool, CopyError> {
        let Some(stat) = self.to.stat(&item.to)?.filter(|stat| (stat.kind, stat.size) == (Kind::File, item.size))
        else {
            return Ok(false);
        };
        let is_equal = match (self.check)(index) {
            Some(check) => self.passes(item, check, buffer)?,
            None => self.equals_original(item)?,
        };
        if is_equal && stat.mode != item.mode {
            let (dir, name) = self.to.locate(&item.to)?;
            dir.open_out(name, OFlags::RDONLY | OFlags::NOFOLLOW)?.set_mode(item.mode)?;
        }
        Ok(is_equal)
    }

    fn passes(
        &self,
        item: &CopyItem,
        mut check: Box<dyn FileCheck + 'c>,
        buffer: &mut [u8],
    ) -> Result<bool, CopyError> {
        let mut file = self.to.open_file(&item.to)?;
        let mut length = 0;
        loop {
            self.check_stop()?;
            let read = file.read(buffer).map_err(|e| self.to.failed(Operation::Read, item.to.as_path(), e))?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            check.update(bytes);
            length += read as u64;
        }
        Ok(length == item.size && check.finish().is_ok())
    }

    /// Compares byte by byte: a length and a time, which is what rsync looks at, prove nothing.
    fn equals_original(&self, item: &CopyItem) -> Result<bool, CopyError> {
        let (original, copy) = (self.from.open_file(&item.from)?, self.to.open_file(&item.to)?);
        are_equal(original, copy).map_err(|e| self.to.failed(Operation::Read, item.to.as_path(), e).into())
    }
}
