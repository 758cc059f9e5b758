#include <catch2/catch.hpp>

#include "common/base/wire_reader.h"
#include "common/base/wire_writer.h"

namespace switchback {
namespace {

TEST_CASE("a reader gives what a writer wrote", "[base][wire]") {
  Bytes out;
  WireWriter w{out};
  w.u8(0x01);
  w.u16be(0x0203);
  w.u32be(0x04050607);
  w.u64be(0x08090a0b0c0d0e0f);
  w.zeros(2);
  w.bytes(as_bytes("ab"));
  CHECK(to_hex(out) == "0102030405060708090a0b0c0d0e0f00006162");
  WireReader r{out};
  CHECK(r.u8() == 0x01);
  CHECK(r.u16be() == 0x0203);
  CHECK(r.u32be() == 0x04050607);
  CHECK(r.u64be() == 0x08090a0b0c0d0e0f);
  r.skip(2);
  CHECK(as_text(r.rest()) == "ab");
  CHECK(r.ok());
  CHECK(r.at_end());
}

TEST_CASE("a failed reader stays failed, yields zeros and does not move", "[base][wire]") {
  const Bytes input{1, 2, 3};
  WireReader r{input};
  CHECK(r.u16be() == 0x0102);
  CHECK(r.u32be() == 0);
  CHECK_FALSE(r.ok());
  CHECK(r.offset() == 2);
  CHECK(r.u8() == 0);
  CHECK(r.bytes(1).empty());
  CHECK(r.rest().empty());
  CHECK_FALSE(r.ok());
}

TEST_CASE("counts near the largest do not wrap a reader", "[base][wire]") {
  const Bytes input(4);
  WireReader r{input};
  r.skip(1);
  CHECK(r.bytes(SIZE_MAX).empty());
  CHECK_FALSE(r.ok());
}

TEST_CASE("taking nothing from an empty input is no failure", "[base][wire]") {
  WireReader r{ByteView{}};
  CHECK(r.rest().empty());
  CHECK(r.bytes(0).empty());
  CHECK(r.ok());
  CHECK(r.u8() == 0);
  CHECK_FALSE(r.ok());
}

TEST_CASE("lengths are filled in once they are known", "[base][wire]") {
  Bytes out;
  WireWriter w{out};
  w.u16be(0);
  w.u32be(7);
  w.patch_length_u16be(0, 0);
  w.patch_u8(5, 9);
  CHECK(to_hex(out) == "000600000009");
  w.patch_u32be(2, 0xffffffff);
  CHECK(to_hex(out) == "0006ffffffff");
}

}  // namespace
}  // namespace switchback
