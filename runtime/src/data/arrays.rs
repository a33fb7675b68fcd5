//! Arrays of columns that are passed through, as messages between ranks.
//!
//! A message has the number of arrays, and of each its length, its offset into its buffers, whether
//! it has nulls and then a bit for each value (1: null), its buffers, and the arrays that it is
//! made of. The receiver knows the type.

use arrow_array::{Array, ArrayRef, make_array, new_empty_array};
use arrow_buffer::{BooleanBuffer, Buffer};
use arrow_schema::DataType;
use arrow_select::concat::concat;

/// Appends arrays, one after the other.
pub(crate) fn push_arrays(arrays: &[ArrayRef], words: &mut Vec<u32>) {
    words.push(arrays.len() as u32);
    for array in arrays {
        // A copy: of a part of an array, the buffers are those of the whole.
        let empty = new_empty_array(array.data_type());
        let copy = concat(&[&**array, &*empty]).expect("values that are in an array fit into one of their own");
        push_array(&copy, words);
    }
}

fn push_array(array: &ArrayRef, words: &mut Vec<u32>) {
    let data = array.to_data();
    words.extend([data.len() as u32, data.offset() as u32, u32::from(data.nulls().is_some())]);
    if let Some(nulls) = data.nulls() {
        let begin = words.len();
        words.resize(begin + nulls.len().div_ceil(32), 0);
        for row in (0..nulls.len()).filter(|&row| nulls.is_null(row)) {
            words[begin + row / 32] |= 1 << (row % 32);
        }
    }
    words.push(data.buffers().len() as u32);
    data.buffers().iter().for_each(|buffer| push_bytes(buffer, words));
    data.child_data().iter().for_each(|child| push_array(&make_array(child.clone()), words));
}

/// Appends bytes: their number, then four in a word.
pub(crate) fn push_bytes(bytes: &[u8], words: &mut Vec<u32>) {
    words.push(bytes.len() as u32);
    let (whole, rest) = bytes.as_chunks::<4>();
    words.extend(whole.iter().map(|&bytes| u32::from_le_bytes(bytes)));
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        words.push(u32::from_le_bytes(last));
    }
}

/// What is left of a message.
pub(crate) struct Message<'a> {
    pub words: &'a [u32],
}

impl<'a> Message<'a> {
    pub fn take(&mut self, count: usize) -> &'a [u32] {
        let (taken, rest) = self.words.split_at(count);
        self.words = rest;
        taken
    }

    pub fn number(&mut self) -> usize {
        self.take(1)[0] as usize
    }

    /// What [`push_bytes`] appended.
    pub fn bytes(&mut self) -> Vec<u8> {
        let length = self.number();
        let mut bytes: Vec<u8> = self.take(length.div_ceil(4)).iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }

    /// What [`push_arrays`] appended, of this type.
    pub fn arrays(&mut self, kind: &DataType) -> Vec<ArrayRef> {
        let count = self.number();
        (0..count).map(|_| self.array(kind)).collect()
    }

    fn array(&mut self, kind: &DataType) -> ArrayRef {
        let (length, offset, has_nulls) = (self.number(), self.number(), self.number() == 1);
        // The bits of nulls begin with the array, in memory with its buffers.
        let valid = has_nulls.then(|| {
            let bits = self.take(length.div_ceil(32));
            let valid = (0..length).map(|row| bits[row / 32] >> (row % 32) & 1 == 0);
            BooleanBuffer::from_iter(std::iter::repeat_n(true, offset).chain(valid)).into_inner()
        });
        let buffers = (0..self.number()).map(|_| Buffer::from_slice_ref(self.bytes())).collect();
        let empty = new_empty_array(kind).to_data();
        let children = empty.child_data().iter().map(|child| self.array(child.data_type()).to_data()).collect();
        let builder = empty.into_builder().len(length).offset(offset).nulls(None).null_bit_buffer(valid);
        let built = builder.buffers(buffers).child_data(children).build();
        make_array(built.expect("an array of this type was sent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::types::Int64Type;
    use arrow_array::{
        BooleanArray, Decimal128Array, Float64Array, Int8Array, ListArray, NullArray, StringArray, StructArray,
        UInt64Array,
    };
    use std::sync::Arc;

    #[test]
    fn arrays_come_as_they_went() {
        let lists = [Some(vec![Some(1), None]), None, Some(vec![]), Some(vec![Some(4), Some(5), Some(6)])];
        let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some(""), Some("with, \"ü\"")]));
        let integers: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0), Some(7)]));
        let structs = StructArray::try_from(vec![("a", strings.clone()), ("b", integers.clone())]).unwrap();
        let columns: Vec<ArrayRef> = vec![
            strings,
            integers,
            Arc::new(structs),
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)])),
            Arc::new(Int8Array::from(vec![1, -1, 0, 3])),
            Arc::new(Float64Array::from(vec![0.5, -0.0, f64::INFINITY, 1e300])),
            Arc::new(Decimal128Array::from(vec![1, -1, 0, i128::MAX]).with_precision_and_scale(38, 2).unwrap()),
            Arc::new(NullArray::new(4)),
        ];
        for column in columns {
            let parts: Vec<ArrayRef> = vec![column.slice(1, 3), column.slice(0, 2), column.slice(2, 0), column.clone()];
            let mut words = vec![7];
            push_arrays(&parts, &mut words);
            words.push(9);
            let mut message = Message { words: &words[1..] };
            let arrays = message.arrays(column.data_type());
            assert_eq!(message.words, [9]);
            assert_eq!(arrays, parts, "{}", column.data_type());
        }
    }
}
