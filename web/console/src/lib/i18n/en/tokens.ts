export default { title: 'Tokens' };
