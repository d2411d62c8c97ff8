"""The page: what Streamlit runs."""

import streamlit as st

st.set_page_config(page_title="headscope", layout="wide", initial_sidebar_state="expanded")

# After the page's frame: this import brings torch.
from headscope.app.views import net, page  # noqa: E402  # pyright: ignore[reportMissingImports]

net.install()
page.show()
