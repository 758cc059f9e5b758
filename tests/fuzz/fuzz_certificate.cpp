// A peer's certificate: parsed, and asked everything that is asked of one.
#include <cstdlib>

#include "common/crypto/identity.h"

using namespace switchback;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView input{data, size};
  const auto certificate = crypto::Certificate::parse(input);
  if (!certificate) return 0;
  if (!same_bytes(certificate->der(), input)) std::abort();
  if (certificate->dns_names().size() + certificate->emails().size() > crypto::kMaxSubjectNames) std::abort();
  const crypto::IkeIdentity subject{crypto::IdType::der_asn1_dn, to_bytes(certificate->subject())};
  (void)subject.to_string();
  for (const auto use : {crypto::CertificateUse::headend, crypto::CertificateUse::client}) {
    (void)certificate->allows(use);
    (void)certificate->speaks_for(subject, use);
    for (const auto& name : certificate->dns_names()) {
      const crypto::IkeIdentity fqdn{crypto::IdType::fqdn, to_bytes(as_bytes(name))};
      if (name.find('*') == std::string::npos && !certificate->speaks_for(fqdn, use)) std::abort();
    }
    // Without anchors nothing is ever trusted.
    static const crypto::TrustStore nobody;
    const std::array ders{input, input};
    if (nobody.verify(std::span<const ByteView>{ders}, subject, use, WallTime{std::chrono::seconds{1780000000}})) {
      std::abort();
    }
  }
  return 0;
}
