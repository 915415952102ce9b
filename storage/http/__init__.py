"""HTTP connections of urllib3 on which an answer belongs to its request, and to no other one.

`responses` reads the one final answer of a request, `chunked_body` checks the chunks of a body,
`connections` decides whether a connection may carry another request.
"""
