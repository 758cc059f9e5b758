// A peer's AUTH payload: method, then data, against a certificate of each key type.
#include <cstdlib>

#include "common/crypto/identity.h"
#include "common/crypto/pki.h"

using namespace switchback;

namespace {

std::vector<crypto::Certificate> make_certificates() {
  std::vector<crypto::Certificate> made;
  for (const auto type : {crypto::KeyType::ecdsa_p256, crypto::KeyType::ed25519, crypto::KeyType::rsa}) {
    const auto authority = crypto::CertificateAuthority::create("Fuzz CA", WallTime{}, type);
    if (!authority) std::abort();
    made.push_back(authority->certificate());
  }
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto certificates = make_certificates();
  if (size == 0) return 0;
  for (const auto& certificate : certificates) {
    // The keys are new in each process: no input can be a proof.
    if (crypto::verify_auth(certificate, data[0], ByteView{data + 1, size - 1}, as_bytes("octets"), false))
      std::abort();
  }
  return 0;
}
