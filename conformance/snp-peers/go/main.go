// Judges evidence with go-sev-guest: for each line of JSON on stdin a line of JSON on stdout.
//
// Nothing is fetched, and the clock is the line's. AMD's roots are given to the library from "roots", since those that it
// carries have no ASVK. Verification is followed by validation under the widest policy, since only that compares
// certificate and report.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	spb "github.com/google/go-sev-guest/proto/sevsnp"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"
)

type question struct {
	Folder  string    `json:"folder"`
	At      time.Time `json:"at"`
	Product string    `json:"product"`
	Roots   string    `json:"roots"`
}

type answer struct {
	ID      string `json:"id"`
	Accepts bool   `json:"accepts"`
	Why     string `json:"why"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		a := answer{ID: filepath.Base(q.Folder), Accepts: true}
		if err := judge(q); err != nil {
			a.Accepts, a.Why = false, err.Error()
		}
		line, _ := json.Marshal(a)
		fmt.Println(string(line))
	}
}

func judge(q question) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("panics: %v", panicked)
		}
	}()
	raw, err := os.ReadFile(filepath.Join(q.Folder, "report.bin"))
	if err != nil {
		return err
	}
	report, err := abi.ReportToProto(raw)
	if err != nil {
		return err
	}
	file := func(name string) []byte { return der(filepath.Join(q.Folder, name)) }
	issuer := file("asvk.pem")
	if issuer == nil {
		issuer = file("ask.pem")
	}
	attestation := &spb.Attestation{Report: report, CertificateChain: &spb.CertificateChain{
		VcekCert: file("vcek.der"),
		VlekCert: file("vlek.der"),
		AskCert:  issuer,
		ArkCert:  file("ark.pem"),
	}}
	roots, err := roots(q.Roots, q.Product)
	if err != nil {
		return err
	}
	options := &verify.Options{DisableCertFetching: true, Now: q.At, TrustedRoots: roots}
	// As the library documents, of reports that do not name their processor only.
	if report.GetVersion() == 2 {
		if options.Product, err = kds.ParseProductLine(q.Product); err != nil {
			return err
		}
	}
	if err := verify.SnpAttestation(attestation, options); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	widest := abi.SnpPolicy{SMT: true, MigrateMA: true, Debug: true, CXLAllowed: true}
	if err := validate.SnpAttestation(attestation, &validate.Options{GuestPolicy: widest, PermitProvisionalFirmware: true}); err != nil {
		return fmt.Errorf("validate: %w", err)
	}
	return nil
}

// AMD's ARK, ASK and ASVK of one product.
func roots(folder, product string) (map[string][]*trust.AMDRootCerts, error) {
	var certs [3]*x509.Certificate
	for i, name := range []string{"ark", "ask", "asvk"} {
		cert, err := x509.ParseCertificate(der(filepath.Join(folder, strings.ToLower(product)+"-"+name+".pem")))
		if err != nil {
			return nil, fmt.Errorf("root %s: %w", name, err)
		}
		certs[i] = cert
	}
	root := trust.AMDRootCertsProduct(product)
	root.ProductCerts = &trust.ProductCerts{Ark: certs[0], Ask: certs[1], Asvk: certs[2]}
	return map[string][]*trust.AMDRootCerts{product: {root}}, nil
}

// The content of a file, PEM or DER; nil where there is none.
func der(path string) []byte {
	data, _ := os.ReadFile(path)
	if block, _ := pem.Decode(data); block != nil {
		return block.Bytes
	}
	return data
}
