"""The papers that a load leaves: a receipt, a request for what is lacking, and a report."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from imgmove.airgap.documents import seal
from imgmove.airgap.loaded import LoadReport
from imgmove.airgap.page import report_page
from imgmove.errors import UsageError
from imgmove.wire.files import LocalFiles
from imgmove.wire.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Papers:
    """Where they go; empty for those that nobody wants.

    Attributes:
        receipt: what the destination holds now.
        request: what would complete images that are not; written only when something is lacking.
        report: the proof, as ``.json`` or ``.html``; a signed page has its signature beside it, in ``FILE.sig``.
        sign_key: signs all of them.

    Raises:
        UsageError: a report has a name that does not say what it is.
    """

    receipt: str = ""
    request: str = ""
    report: str = ""
    sign_key: SigningKey | None = None

    def __post_init__(self) -> None:
        if self.report and not self.report.endswith((".json", ".html")):
            raise UsageError(f"a report is a .json or .html file, not {self.report}")

    def write(self, found: LoadReport) -> None:
        """Writes them.

        Raises:
            LocalError: one can't be written.
        """
        signer = self.sign_key.sign if self.sign_key is not None else None
        files = LocalFiles()
        if self.receipt:
            files.write(self.receipt, seal("receipt", found.holdings.to_json(), signer))
        if self.report.endswith(".json"):
            files.write(self.report, seal("report", found.to_json(), signer))
        elif self.report:
            page = report_page(found)
            files.write(self.report, page)
            if signer is not None:
                files.write(f"{self.report}.sig", base64.b64encode(signer(page)) + b"\n")
        if self.request and found.request is not None:
            files.write(self.request, seal("request", found.request.to_json(), signer))
